//! The parts of a certificate, and of a list of those that were revoked, which a broker asks for:
//! RFC 5280, sections 4.1 and 5.1. That they are well-formed says nothing about whether to believe
//! them: rustls has decided that before, and signatures are its provider's to verify.
//!
//! Elements are read by `der`, which is there for keys in any case. A library that knows everything
//! a certificate may hold is 96 KB of a program that has to fit small devices.

use core::iter::Peekable;
use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use der::{Reader, SliceReader, Tag, TagNumber, Tagged};
use rustls::crypto::ring::default_provider;

/// It is not what it should be.
pub(super) struct Damaged;

type Result<T> = core::result::Result<T, Damaged>;

impl From<der::Error> for Damaged {
    fn from(_: der::Error) -> Self {
        Self
    }
}

/// Attributes of a name.
pub(super) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
pub(super) const ORGANIZATION: &[u8] = &[0x55, 4, 10];

const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

/// `version` and `extensions` of a certificate, which are the only ones with these tags.
const VERSION: Tag = context(true, 0);
const EXTENSIONS: Tag = context(true, 3);
/// As `version` has it.
const VERSION_3: &[u8] = &[2, 1, 2];

/// What a certificate is for, by its alternative names.
const MAIL_ADDRESS: Tag = context(false, 1);
const DNS_NAME: Tag = context(false, 2);
const URI: Tag = context(false, 6);
const IP_ADDRESS: Tag = context(false, 7);

const fn context(constructed: bool, number: u32) -> Tag {
    let number = TagNumber(number);
    Tag::ContextSpecific {
        constructed,
        number,
    }
}

/// A certificate.
pub(super) struct Certificate<'a> {
    signed: Signed<'a>,
    pub(super) is_version_3: bool,
    pub(super) serial: &'a [u8],
    pub(super) issuer: &'a [u8],
    validity: &'a [u8],
    pub(super) subject: &'a [u8],
    key: &'a [u8],
    extensions: &'a [u8],
}

/// An alternative name.
pub(super) enum AlternativeName<'a> {
    /// A DNS name, mail address or URI.
    Text(&'a str),
    /// Four bytes, or sixteen.
    Address(&'a [u8]),
    /// Of a kind that is not used here.
    Other,
}

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self> {
        let signed = Signed::read(der)?;
        let mut fields = fields(signed.content)?;
        let version = take_if(&mut fields, VERSION)?;
        let serial = take(&mut fields, Tag::Integer)?;
        take(&mut fields, Tag::Sequence)?;
        let issuer = take(&mut fields, Tag::Sequence)?;
        let validity = take(&mut fields, Tag::Sequence)?;
        let subject = take(&mut fields, Tag::Sequence)?;
        let key = take(&mut fields, Tag::Sequence)?;
        let mut extensions: &[u8] = &[];
        for field in fields {
            let field = field?;
            if field.tag() == EXTENSIONS {
                extensions = only(field.value())?;
            }
        }
        Ok(Self {
            signed,
            is_version_3: version == Some(VERSION_3),
            serial,
            issuer,
            validity,
            subject,
            key,
            extensions,
        })
    }

    /// Its beginning and its end, in seconds of Unix time.
    pub(super) fn validity(&self) -> Result<(i64, i64)> {
        let mut times = elements(self.validity)?;
        let mut next = || seconds(times.next().ok_or(Damaged)??);
        Ok((next()?, next()?))
    }

    pub(super) fn alternative_names(&self) -> Result<Vec<AlternativeName<'a>>> {
        let mut names = None;
        for extension in elements(self.extensions)? {
            let mut parts = fields(extension?.value())?;
            if take(&mut parts, Tag::ObjectIdentifier)? == ALTERNATIVE_NAMES {
                take_if(&mut parts, Tag::Boolean)?;
                let value = only(take(&mut parts, Tag::OctetString)?)?;
                if names.replace(value).is_some() {
                    // One of them may have been checked, and another one be believed.
                    return Err(Damaged);
                }
            }
        }
        let names = elements(names.unwrap_or_default())?;
        let names = names.map(|name| {
            let name = name?;
            Ok(if [DNS_NAME, MAIL_ADDRESS, URI].contains(&name.tag()) {
                AlternativeName::Text(text(name)?)
            } else if name.tag() == IP_ADDRESS {
                AlternativeName::Address(name.value())
            } else {
                AlternativeName::Other
            })
        });
        names.collect()
    }

    /// Whether the owner of `other` has made it, as far as the signature tells.
    pub(super) fn is_signed_by(&self, other: &Certificate<'_>) -> bool {
        self.signed.is_signed_with(other.key)
    }
}

/// The first attribute of this kind in a name. It has to be text.
pub(super) fn attribute<'a>(name: &'a [u8], kind: &[u8]) -> Result<Option<&'a str>> {
    for set in elements(name)? {
        for attribute in elements(set?.value())? {
            let mut parts = fields(attribute?.value())?;
            if take(&mut parts, Tag::ObjectIdentifier)? != kind {
                continue;
            }
            let value = parts.next().ok_or(Damaged)??;
            if !TEXTS.contains(&value.tag()) {
                return Err(Damaged);
            }
            return text(value).map(Some);
        }
    }
    Ok(None)
}

/// Kinds of text that are, or are a part of, UTF-8.
const TEXTS: [Tag; 4] = [
    Tag::NumericString,
    Tag::PrintableString,
    Tag::Utf8String,
    Tag::Ia5String,
];

/// A list of revoked certificates.
pub(super) struct RevocationList<'a> {
    signed: Signed<'a>,
    pub(super) issuer: &'a [u8],
    /// When the next one is to come, in seconds of Unix time.
    pub(super) next_update: Option<i64>,
    revoked: &'a [u8],
}

impl<'a> RevocationList<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self> {
        let signed = Signed::read(der)?;
        let mut fields = fields(signed.content)?;
        take_if(&mut fields, Tag::Integer)?;
        take(&mut fields, Tag::Sequence)?;
        let issuer = take(&mut fields, Tag::Sequence)?;
        // When it was made.
        fields.next().transpose()?;
        let is_time = |field: &Result<AnyRef<'_>>| {
            let tag = field.as_ref().map(Tagged::tag);
            tag.is_ok_and(|tag| [Tag::UtcTime, Tag::GeneralizedTime].contains(&tag))
        };
        let next_update = fields.next_if(is_time).transpose()?;
        let revoked = take_if(&mut fields, Tag::Sequence)?;
        Ok(Self {
            signed,
            issuer,
            next_update: next_update.map(seconds).transpose()?,
            revoked: revoked.unwrap_or_default(),
        })
    }

    /// The numbers of those that were revoked.
    pub(super) fn serials(&self) -> Result<Vec<&'a [u8]>> {
        let revoked = elements(self.revoked)?;
        revoked
            .map(|one| take(&mut fields(one?.value())?, Tag::Integer))
            .collect()
    }

    /// Whether the owner of `authority` has made it, as far as the signature tells.
    pub(super) fn is_signed_by(&self, authority: &Certificate<'_>) -> bool {
        self.signed.is_signed_with(authority.key)
    }
}

/// Something with a signature.
struct Signed<'a> {
    /// What was signed.
    message: &'a [u8],
    /// What is in it.
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(der: &'a [u8]) -> Result<Self> {
        let der = only(der)?;
        let message = SliceReader::new(der)?.tlv_bytes()?;
        let mut fields = fields(der)?;
        Ok(Self {
            message,
            content: take(&mut fields, Tag::Sequence)?,
            algorithm: take(&mut fields, Tag::Sequence)?,
            signature: take_bits(&mut fields)?,
        })
    }

    /// Whether it was made with the private half of this key, and in a way that TLS knows.
    fn is_signed_with(&self, key: &[u8]) -> bool {
        let parts = || {
            let mut fields = fields(key)?;
            Ok::<_, Damaged>((take(&mut fields, Tag::Sequence)?, take_bits(&mut fields)?))
        };
        let Ok((kind, key)) = parts() else {
            return false;
        };
        let known = default_provider().signature_verification_algorithms.all;
        known
            .iter()
            .filter(|known| {
                *known.signature_alg_id() == *self.algorithm && *known.public_key_alg_id() == *kind
            })
            .any(|known| {
                known
                    .verify_signature(key, self.message, self.signature)
                    .is_ok()
            })
    }
}

/// What follows each other in the content of a SEQUENCE or SET. Whoever meets an error stops there.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Result<AnyRef<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_finished()).then(|| Ok(self.0.decode()?))
    }
}

fn elements(content: &[u8]) -> Result<Elements<'_>> {
    Ok(Elements(SliceReader::new(content)?))
}

fn fields(content: &[u8]) -> Result<Peekable<Elements<'_>>> {
    Ok(elements(content)?.peekable())
}

/// The content of the next field, which has to be of this kind.
fn take<'a>(fields: &mut Peekable<Elements<'a>>, kind: Tag) -> Result<&'a [u8]> {
    let content = take_if(fields, kind)?;
    content.ok_or(Damaged)
}

/// The same, if it is of this kind.
fn take_if<'a>(fields: &mut Peekable<Elements<'a>>, kind: Tag) -> Result<Option<&'a [u8]>> {
    let field = fields.next_if(|field| !matches!(field, Ok(field) if field.tag() != kind));
    Ok(field.transpose()?.map(AnyRef::value))
}

/// Whole bytes of a BIT STRING.
fn take_bits<'a>(fields: &mut Peekable<Elements<'a>>) -> Result<&'a [u8]> {
    let field = AnyRef::new(Tag::BitString, take(fields, Tag::BitString)?)?;
    let bits: BitStringRef<'a> = field.decode_as()?;
    let bytes = bits.as_bytes();
    bytes.ok_or(Damaged)
}

/// The content of a SEQUENCE, after which nothing comes.
fn only(der: &[u8]) -> Result<&[u8]> {
    let mut fields = fields(der)?;
    let content = take(&mut fields, Tag::Sequence)?;
    match fields.next() {
        None => Ok(content),
        Some(_) => Err(Damaged),
    }
}

fn text(value: AnyRef<'_>) -> Result<&str> {
    core::str::from_utf8(value.value()).map_err(|_| Damaged)
}

/// Seconds of Unix time.
fn seconds(time: AnyRef<'_>) -> Result<i64> {
    let time = if time.tag() == Tag::UtcTime {
        time.decode_as::<UtcTime>()?.to_unix_duration()
    } else {
        time.decode_as::<GeneralizedTime>()?.to_unix_duration()
    };
    Ok(time.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    //! Certificates of another's making, and what becomes of them when they are damaged.

    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
        DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
        date_time_ymd,
    };

    const BEGINS: i64 = 1_767_225_600; // 2026-01-01
    const ENDS: i64 = 2_524_694_400; // 2050-01-02, which is written in another way

    struct Made {
        authority: Vec<u8>,
        client: Vec<u8>,
        list: Vec<u8>,
    }

    fn made() -> Made {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "who signs");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = vec!["ada.example".to_owned(), "192.0.2.7".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ada");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "engines");
        params.serial_number = Some(SerialNumber::from(0x0102_0304));
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2050, 1, 2);
        let client = params
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let revoked = [7_u64, 0x00FF_0001].map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2026, 2, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2050, 1, 2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.into(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Made {
            authority: issuer.der().to_vec(),
            client: client.der().to_vec(),
            list: list.signed_by(&issuer).unwrap().der().to_vec(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let Made {
            authority,
            client,
            list,
        } = made();
        let (Ok(authority), Ok(client)) =
            (Certificate::read(&authority), Certificate::read(&client))
        else {
            panic!("they are well-formed");
        };
        assert!(client.is_version_3 && client.serial == [1, 2, 3, 4]);
        assert!(client.issuer == authority.subject && client.subject != authority.subject);
        assert!(matches!(client.validity(), Ok((BEGINS, ENDS))));
        assert!(matches!(
            attribute(client.subject, COMMON_NAME),
            Ok(Some("ada"))
        ));
        assert!(matches!(
            attribute(client.subject, ORGANIZATION),
            Ok(Some("engines"))
        ));
        assert!(matches!(attribute(client.issuer, ORGANIZATION), Ok(None)));
        let Ok(names) = client.alternative_names() else {
            panic!("they are well-formed");
        };
        assert!(matches!(
            *names,
            [
                AlternativeName::Text("ada.example"),
                AlternativeName::Address([192, 0, 2, 7])
            ]
        ));
        assert!(client.is_signed_by(&authority) && authority.is_signed_by(&authority));
        assert!(!authority.is_signed_by(&client));
        let Ok(list) = RevocationList::read(&list) else {
            panic!("it is well-formed");
        };
        assert!(list.issuer == authority.subject && list.next_update == Some(ENDS));
        assert!(list.is_signed_by(&authority) && !list.is_signed_by(&client));
        assert!(
            list.serials()
                .is_ok_and(|serials| serials == [&[7][..], &[0, 0xFF, 0, 1]])
        );
    }

    /// Nothing panics, and nobody has signed it.
    #[test]
    fn what_is_cut_off_or_changed_in_one_bit_is_damaged_or_signed_by_nobody() {
        let Made {
            authority,
            client,
            list,
        } = made();
        let Ok(authority) = Certificate::read(&authority) else {
            panic!("it is well-formed");
        };
        let is_signed = |bytes: &[u8]| {
            let certificate = Certificate::read(bytes).is_ok_and(|read| {
                let _ = (read.validity(), read.alternative_names());
                let _ = attribute(read.subject, COMMON_NAME);
                read.is_signed_by(&authority)
            });
            let list = RevocationList::read(bytes).is_ok_and(|read| {
                let _ = read.serials();
                read.is_signed_by(&authority)
            });
            certificate || list
        };
        for whole in [client, list] {
            assert!(is_signed(&whole));
            for length in 0..whole.len() {
                assert!(!is_signed(&whole[..length]), "cut off at {length}");
            }
            assert!(!is_signed(&[&*whole, &[0]].concat()));
            for bit in 0..whole.len() * 8 {
                let mut changed = whole.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_signed(&changed), "bit {bit}");
            }
        }
    }
}
