//! Certificates for tests: an authority, what it signs, and what it takes back, as files in a
//! directory of their own.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const SOUND: &str = "these parameters are sound";
const WRITABLE: &str = "the directory for temporary files can be written";

/// Signs certificates. Its files go with it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    serial: AtomicU64,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Where the certificate is.
    pub certificate: String,
    /// Where its private key is.
    pub key: String,
    /// What it is taken back by.
    pub serial: u64,
}

impl Authority {
    /// `name` is for this test alone.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = format!("whimbrel-certificates-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        // What an earlier process of the same number left.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect(WRITABLE);
        let mut params = CertificateParams::new(Vec::new()).expect(SOUND);
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect(SOUND);
        let issuer = CertifiedIssuer::self_signed(params, key).expect(SOUND);
        let authority = Self {
            issuer,
            directory,
            serial: AtomicU64::new(1),
        };
        authority.write("authority.crt", &authority.issuer.pem());
        authority
    }

    /// The file with its own certificate.
    #[must_use]
    pub fn file(&self) -> String {
        self.path("authority.crt")
    }

    /// Where a file of this name is, or would be.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }

    /// Writes a file, and says where.
    pub fn write(&self, file: &str, text: &str) -> String {
        fs::write(self.directory.join(file), text).expect(WRITABLE);
        self.path(file)
    }

    /// A server of these names.
    #[must_use]
    pub fn server(&self, file: &str, names: &[&str]) -> Pair {
        self.issue(file, names, &[], |_| {})
    }

    /// A server whose certificate says that it is an authority, as many tools make them.
    #[must_use]
    pub fn server_as_authority(&self, file: &str, names: &[&str]) -> Pair {
        self.issue(file, names, &[], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        })
    }

    /// A client with this common name and organisation.
    #[must_use]
    pub fn client(&self, file: &str, common_name: &str, organisation: &str) -> Pair {
        let subject = [
            (DnType::CommonName, common_name),
            (DnType::OrganizationName, organisation),
        ];
        self.issue(file, &[], &subject, |_| {})
    }

    /// A server whose time is from the first to the second of January of these years.
    #[must_use]
    pub fn server_in(&self, file: &str, names: &[&str], years: (i32, i32)) -> Pair {
        self.issue(file, names, &[], |params| {
            params.not_before = date_time_ymd(years.0, 1, 1);
            params.not_after = date_time_ymd(years.1, 1, 2);
        })
    }

    fn issue(
        &self,
        file: &str,
        names: &[&str],
        subject: &[(DnType, &str)],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect(SOUND);
        for (kind, text) in subject {
            params.distinguished_name.push(kind.clone(), *text);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().expect(SOUND);
        let certificate = params.signed_by(&key, &self.issuer).expect(SOUND);
        Pair {
            certificate: self.write(&format!("{file}.crt"), &certificate.pem()),
            key: self.write(&format!("{file}.key"), &key.serialize_pem()),
            serial,
        }
    }

    /// A client with these alternative names, addresses among them.
    #[must_use]
    pub fn client_of_names(&self, file: &str, common_name: &str, names: &[&str]) -> Pair {
        self.issue(file, names, &[(DnType::CommonName, common_name)], |_| {})
    }

    /// A list of what was taken back.
    #[must_use]
    pub fn revoke(&self, pairs: &[&Pair]) -> String {
        self.revoke_until(pairs, 4_000)
    }

    /// The same, to be followed by the next one in the first days of a year.
    #[must_use]
    pub fn revoke_until(&self, pairs: &[&Pair], year: i32) -> String {
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect(SOUND);
        self.write("revoked.pem", &list.pem().expect(SOUND))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
