//! What is kept of a password, and how a password is checked against it.
//!
//! | written as | what it is |
//! |---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` | argon2id (RFC 9106); what [`PasswordHash::new`] makes |
//! | `$scram-sha-256$i=…$SALT$STORED$SERVER` | the two keys of RFC 5802, for enhanced authentication |
//! | `$7$ITERATIONS$SALT$HASH` | PBKDF2 with HMAC-SHA-512, as mosquitto writes it |
//! | `$6$SALT$HASH` | SHA-512 of password and salt, as mosquitto before 1.6.8 wrote it |
//!
//! All but the last two write base64 without padding. Nothing here waits, and nothing is shared:
//! [`PasswordHash::verify`] is a plain function that keeps its thread busy for milliseconds.

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64, Base64Unpadded, Encoding};
use core::fmt;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Memory of argon2id for new passwords, in KiB. With [`ARGON2_PASSES`] it is the smaller of the
/// two settings that OWASP calls equal: 19 MiB for each password that is being checked, so a device
/// with 64 MiB can check one, and a server's pool of two takes 38 MiB.
const ARGON2_KIB: u32 = 19_456;
/// Passes of argon2id for new passwords.
const ARGON2_PASSES: u32 = 2;
/// The most memory that a line of a file may ask for, in KiB: 256 MiB. A slip must not be able to
/// stop the broker.
const ARGON2_KIB_MAXIMUM: u32 = 256 << 10;
const ARGON2_PASSES_MAXIMUM: u32 = 64;
const ARGON2_LANES_MAXIMUM: u32 = 16;

/// Iterations of SCRAM for new passwords. RFC 7677 asks for 4,096 at least; the client, which may
/// be a microcontroller, has to do the same work at every connection.
pub const SCRAM_ITERATIONS: u32 = 15_000;
/// The least that a client has to accept, by RFC 7677.
pub const SCRAM_ITERATIONS_MINIMUM: u32 = 4_096;
/// The most iterations that a line of a file may ask for: some seconds.
pub const ITERATIONS_MAXIMUM: u32 = 10_000_000;

const SALT_BYTES: usize = 16;
const SALT_BYTES_RANGE: core::ops::RangeInclusive<usize> = 8..=64;
const SHA512_BYTES: usize = 64;
const SHA256_BYTES: usize = 32;

/// What is kept of a password. Its text form is a column of the password file.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordHash {
    /// argon2id.
    Argon2id {
        /// Memory, in KiB.
        kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes of it.
        lanes: u32,
        /// 8 to 64 bytes.
        salt: Vec<u8>,
        /// 16 to 64 bytes.
        hash: Vec<u8>,
    },
    /// The keys of SCRAM-SHA-256.
    ScramSha256(ScramKeys),
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2Sha512 {
        /// At least 1.
        iterations: u32,
        /// 8 to 64 bytes.
        salt: Vec<u8>,
        /// 64 bytes.
        hash: Vec<u8>,
    },
    /// SHA-512 of the password followed by the salt. Quick to guess; read, never made.
    Sha512 {
        /// 8 to 64 bytes.
        salt: Vec<u8>,
        /// 64 bytes.
        hash: Vec<u8>,
    },
}

/// What a server keeps for SCRAM-SHA-256 (RFC 5802, section 3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// At least 4,096, at most 10,000,000.
    pub iterations: u32,
    /// 8 to 64 bytes.
    pub salt: Vec<u8>,
    /// Shows that a client knows the password.
    pub stored_key: [u8; SHA256_BYTES],
    /// Shows the client that the server knows it.
    pub server_key: [u8; SHA256_BYTES],
}

/// Why a text is not a password hash; the fault is of whoever wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotAHash {
    /// Nothing at all: without this, everybody who knows the name would be let in.
    #[error("there is no password hash; set one with `whimbrel passwd set`")]
    Missing,
    /// It does not begin with `$`: most likely the password itself.
    #[error(
        "this is not a password hash, perhaps it is the password itself; set it with `whimbrel passwd set`"
    )]
    Plain,
    /// A kind of hash that is not known here.
    #[error(
        "this kind of password hash is not known; known are $argon2id$, $scram-sha-256$, $7$ and $6$"
    )]
    Kind,
    /// A part of it is missing or has no business there.
    #[error("the password hash does not have its parts: {0}")]
    Parts(&'static str),
    /// A part of it is not base64, or not as long as it has to be.
    #[error("the salt or the hash is cut off or mistyped")]
    Bytes,
    /// Its cost is out of range.
    #[error("the cost of the password hash is out of range: {0}")]
    Cost(&'static str),
}

impl PasswordHash {
    /// A new argon2id hash with a salt of its own.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn new(password: &[u8]) -> Result<Self, getrandom::Error> {
        let salt = new_salt()?;
        let mut hash = vec![0; 32];
        argon2id(ARGON2_KIB, ARGON2_PASSES, 1, &salt, password, &mut hash);
        Ok(Self::Argon2id {
            kib: ARGON2_KIB,
            passes: ARGON2_PASSES,
            lanes: 1,
            salt,
            hash,
        })
    }

    /// New keys for SCRAM-SHA-256 with a salt of their own. A password can be checked against them
    /// too, so a user needs nothing else.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn new_scram(password: &[u8], iterations: u32) -> Result<Self, getrandom::Error> {
        let salt = new_salt()?;
        Ok(Self::ScramSha256(ScramKeys::derive(
            password, salt, iterations,
        )))
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// What is wrong with it; see [`NotAHash`].
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        if text.is_empty() {
            return Err(NotAHash::Missing);
        }
        let Some(text) = text.strip_prefix('$') else {
            return Err(NotAHash::Plain);
        };
        let (kind, rest) = text.split_once('$').ok_or(NotAHash::Kind)?;
        let parts: Vec<&str> = rest.split('$').collect();
        match kind {
            "argon2id" => parse_argon2id(&parts),
            "scram-sha-256" => parse_scram(&parts),
            "7" => parse_pbkdf2(&parts),
            "6" => parse_sha512(&parts),
            _ => Err(NotAHash::Kind),
        }
    }

    /// Whether this is the password. Takes as long for any password of the same length, and
    /// milliseconds in any case: it belongs on a thread that may be busy.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        let (found, expected): (Vec<u8>, &[u8]) = match self {
            Self::Argon2id {
                kib,
                passes,
                lanes,
                salt,
                hash,
            } => {
                let mut found = vec![0; hash.len()];
                argon2id(*kib, *passes, *lanes, salt, password, &mut found);
                (found, hash)
            }
            Self::ScramSha256(keys) => {
                let found = ScramKeys::derive(password, keys.salt.clone(), keys.iterations);
                (found.stored_key.to_vec(), &keys.stored_key)
            }
            Self::Pbkdf2Sha512 {
                iterations,
                salt,
                hash,
            } => {
                let mut found = vec![0; SHA512_BYTES];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut found);
                (found, hash)
            }
            Self::Sha512 { salt, hash } => {
                let found = Sha512::new().chain_update(password).chain_update(salt);
                (found.finalize().to_vec(), hash)
            }
        };
        found.ct_eq(expected).into()
    }

    /// Whether a password can be guessed quickly by whoever gets hold of the file.
    #[must_use]
    pub const fn is_weak(&self) -> bool {
        match self {
            Self::Sha512 { .. } => true,
            Self::Pbkdf2Sha512 { iterations, .. } => *iterations < 1_000,
            Self::Argon2id { .. } | Self::ScramSha256(_) => false,
        }
    }

    /// What kind it is, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Argon2id { .. } => "argon2id",
            Self::ScramSha256(_) => "scram-sha-256",
            Self::Pbkdf2Sha512 { .. } => "pbkdf2-sha512",
            Self::Sha512 { .. } => "sha512",
        }
    }
}

impl ScramKeys {
    /// The keys of a password.
    #[must_use]
    pub fn derive(password: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        let mut salted = [0; SHA256_BYTES];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut salted);
        let client_key = hmac_sha256(&salted, &[b"Client Key"]);
        Self {
            iterations,
            salt,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac_sha256(&salted, &[b"Server Key"]),
        }
    }
}

/// HMAC-SHA-256 of the parts, one after the other.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; SHA256_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn argon2id(kib: u32, passes: u32, lanes: u32, salt: &[u8], password: &[u8], hash: &mut [u8]) {
    let parameters = Params::new(kib, passes, lanes, Some(hash.len()))
        .expect("the parameters were checked when they were read");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(password, salt, hash)
        .expect("a password of MQTT is shorter than argon2's limit, and the salt was checked");
}

fn new_salt() -> Result<Vec<u8>, getrandom::Error> {
    let mut salt = vec![0; SALT_BYTES];
    getrandom::fill(&mut salt)?;
    Ok(salt)
}

fn parse_argon2id(parts: &[&str]) -> Result<PasswordHash, NotAHash> {
    const EXPECTED: &str = "$argon2id$v=19$m=…,t=…,p=…$SALT$HASH";
    let ["v=19", cost, salt, hash] = *parts else {
        return Err(NotAHash::Parts(EXPECTED));
    };
    let mut cost = cost.split(',');
    let mut next = |name: &str| {
        let number = cost.next()?.strip_prefix(name)?.strip_prefix('=')?;
        number.parse::<u32>().ok()
    };
    let (Some(kib), Some(passes), Some(lanes)) = (next("m"), next("t"), next("p")) else {
        return Err(NotAHash::Parts(EXPECTED));
    };
    let lanes_fit = (1..=ARGON2_LANES_MAXIMUM).contains(&lanes);
    if !lanes_fit
        || !(8 * lanes..=ARGON2_KIB_MAXIMUM).contains(&kib)
        || !(1..=ARGON2_PASSES_MAXIMUM).contains(&passes)
    {
        return Err(NotAHash::Cost(
            "p is 1 to 16, m is 8 for each p to 262144 (256 MiB), t is 1 to 64",
        ));
    }
    let salt = unpadded(salt)?;
    let hash = unpadded(hash)?;
    if !SALT_BYTES_RANGE.contains(&salt.len()) || !(16..=64).contains(&hash.len()) {
        return Err(NotAHash::Bytes);
    }
    Ok(PasswordHash::Argon2id {
        kib,
        passes,
        lanes,
        salt,
        hash,
    })
}

fn parse_scram(parts: &[&str]) -> Result<PasswordHash, NotAHash> {
    const EXPECTED: &str = "$scram-sha-256$i=…$SALT$STORED$SERVER";
    let [iterations, salt, stored_key, server_key] = *parts else {
        return Err(NotAHash::Parts(EXPECTED));
    };
    let iterations = iterations.strip_prefix("i=");
    let iterations = iterations.ok_or(NotAHash::Parts(EXPECTED))?;
    let keys = ScramKeys {
        iterations: parse_iterations(iterations, SCRAM_ITERATIONS_MINIMUM)?,
        salt: unpadded(salt)?,
        stored_key: exactly(unpadded(stored_key)?)?,
        server_key: exactly(unpadded(server_key)?)?,
    };
    if !SALT_BYTES_RANGE.contains(&keys.salt.len()) {
        return Err(NotAHash::Bytes);
    }
    Ok(PasswordHash::ScramSha256(keys))
}

fn parse_pbkdf2(parts: &[&str]) -> Result<PasswordHash, NotAHash> {
    let [iterations, salt, hash] = *parts else {
        return Err(NotAHash::Parts("$7$ITERATIONS$SALT$HASH"));
    };
    let iterations = parse_iterations(iterations, 1)?;
    let (salt, hash) = mosquittos(salt, hash)?;
    Ok(PasswordHash::Pbkdf2Sha512 {
        iterations,
        salt,
        hash,
    })
}

fn parse_sha512(parts: &[&str]) -> Result<PasswordHash, NotAHash> {
    let [salt, hash] = *parts else {
        return Err(NotAHash::Parts("$6$SALT$HASH"));
    };
    let (salt, hash) = mosquittos(salt, hash)?;
    Ok(PasswordHash::Sha512 { salt, hash })
}

fn parse_iterations(text: &str, least: u32) -> Result<u32, NotAHash> {
    match text.parse() {
        Ok(iterations) if (least..=ITERATIONS_MAXIMUM).contains(&iterations) => Ok(iterations),
        Ok(_) | Err(_) => Err(NotAHash::Cost(
            "iterations are a number up to 10,000,000, with SCRAM at least 4,096",
        )),
    }
}

/// Salt and hash as mosquitto writes them, with padding.
fn mosquittos(salt: &str, hash: &str) -> Result<(Vec<u8>, Vec<u8>), NotAHash> {
    let decode = |text| Base64::decode_vec(text).map_err(|_| NotAHash::Bytes);
    let (salt, hash) = (decode(salt)?, decode(hash)?);
    if SALT_BYTES_RANGE.contains(&salt.len()) && hash.len() == SHA512_BYTES {
        Ok((salt, hash))
    } else {
        Err(NotAHash::Bytes)
    }
}

fn unpadded(text: &str) -> Result<Vec<u8>, NotAHash> {
    Base64Unpadded::decode_vec(text).map_err(|_| NotAHash::Bytes)
}

fn exactly(bytes: Vec<u8>) -> Result<[u8; SHA256_BYTES], NotAHash> {
    bytes.try_into().map_err(|_| NotAHash::Bytes)
}

/// The text form, which [`PasswordHash::parse`] reads.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = Base64Unpadded::encode_string;
        match self {
            Self::Argon2id {
                kib,
                passes,
                lanes,
                salt,
                hash,
            } => write!(
                f,
                "$argon2id$v=19$m={kib},t={passes},p={lanes}${}${}",
                bare(salt),
                bare(hash)
            ),
            Self::ScramSha256(keys) => write!(
                f,
                "$scram-sha-256$i={}${}${}${}",
                keys.iterations,
                bare(&keys.salt),
                bare(&keys.stored_key),
                bare(&keys.server_key)
            ),
            Self::Pbkdf2Sha512 {
                iterations,
                salt,
                hash,
            } => write!(
                f,
                "$7${iterations}${}${}",
                Base64::encode_string(salt),
                Base64::encode_string(hash)
            ),
            Self::Sha512 { salt, hash } => write!(
                f,
                "$6${}${}",
                Base64::encode_string(salt),
                Base64::encode_string(hash)
            ),
        }
    }
}

/// Never shows the hash: it is as good as a weak password.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())
    }
}

/// Never shows the keys: the server key is enough to play the broker.
impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scram-sha-256 with {} iterations", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two were made by `mosquitto_passwd` 2.0.11, the last by the reference
    /// implementation of argon2 with cost and salt length of mosquitto 2.1.
    const OF_OTHERS: &[(&str, &str)] = &[
        (
            "secret",
            "$7$101$R5lCg9W0h4NyPJ8c$EHAcc91GrAETIhSMXceFR2liTC0UCQuNwRo1dSs0zS1UBEVGuv5up3rgq1caZ8BVs75b4849/N9DFlCkTUH/WQ==",
        ),
        (
            "secret",
            "$6$LxRr16jLTSnHmK9R$J5FRsvJK/8nwpUo3o+nl5pJVMutPCVFgWYjPVfzilkPX87QTjJ0fhpT9Wo4TMa8XHG5Jn9E9ad3Emc2jcLlsUw==",
        ),
        (
            "secret",
            "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$jN8KVtBuy9rOg+xx4HEO7K//Ei2hf4aegEDgCD4okj4rugUys2dVUsAyHcBFDFrGlWl198NIEs4dtHiTXPgqvA",
        ),
    ];

    #[test]
    fn what_mosquitto_wrote_is_verified_and_written_as_it_was() {
        for (password, text) in OF_OTHERS {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.verify(password.as_bytes()), "{text}");
            for wrong in ["", "Secret", "secret ", "secre"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text} {wrong}");
            }
            assert_eq!(hash.to_string(), *text);
        }
    }

    #[test]
    fn new_hashes_verify_their_password_and_no_other() {
        let hashes = [
            PasswordHash::new(b"pa\0ss").unwrap(),
            PasswordHash::new_scram(b"pa\0ss", SCRAM_ITERATIONS_MINIMUM).unwrap(),
        ];
        for hash in hashes {
            let text = hash.to_string();
            let hash = PasswordHash::parse(&text).unwrap();
            assert_eq!(hash.to_string(), text);
            assert!(hash.verify(b"pa\0ss"));
            assert!(!hash.verify(b"pa"));
            assert!(!hash.verify(b""));
        }
        let (one, other) = (PasswordHash::new(b"a"), PasswordHash::new(b"a"));
        assert_ne!(one.unwrap(), other.unwrap(), "each has a salt of its own");
    }

    /// The example of RFC 7677, section 3, for the password "pencil".
    #[test]
    fn scram_keys_are_those_of_the_standard() {
        let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", salt, 4_096);
        let shown = PasswordHash::ScramSha256(keys).to_string();
        assert_eq!(
            shown,
            "$scram-sha-256$i=4096$W22ZaJ0SNY7soEsUEjb6gQ\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU"
        );
    }

    #[test]
    fn what_is_not_a_hash_never_passes_for_one() {
        let salt = "c2FsdHNhbHRzYWx0";
        for (text, expected) in [
            ("", NotAHash::Missing),
            ("secret", NotAHash::Plain),
            ("$", NotAHash::Kind),
            ("$7", NotAHash::Kind),
            ("$1$salt$hash", NotAHash::Kind),
            ("$5$salt$hash", NotAHash::Kind),
            ("$2b$12$abcdefghijklmnopqrstuv", NotAHash::Kind),
            ("$7$$$", NotAHash::Cost("")),
            ("$7$0$c2FsdHNhbHRzYWx0$aGFzaA==", NotAHash::Cost("")),
            ("$7$-1$c2FsdHNhbHRzYWx0$aGFzaA==", NotAHash::Cost("")),
            ("$7$10000001$c2FsdHNhbHRzYWx0$aGFzaA==", NotAHash::Cost("")),
            ("$7$101$c2FsdHNhbHRzYWx0", NotAHash::Parts("")),
            ("$7$101$c2FsdHNhbHRzYWx0$", NotAHash::Bytes),
            ("$6$c2FsdHNhbHRzYWx0$", NotAHash::Bytes),
            ("$6$$", NotAHash::Bytes),
            ("$argon2id$", NotAHash::Parts("")),
            ("$argon2id$v=16$m=8,t=1,p=1$a$b", NotAHash::Parts("")),
            ("$argon2id$v=19$t=1,m=8,p=1$a$b", NotAHash::Parts("")),
            (
                "$argon2id$v=19$m=4294967295,t=1,p=1$a$b",
                NotAHash::Cost(""),
            ),
            ("$argon2id$v=19$m=64,t=0,p=1$a$b", NotAHash::Cost("")),
            ("$argon2id$v=19$m=64,t=1,p=0$a$b", NotAHash::Cost("")),
            ("$argon2id$v=19$m=64,t=1,p=9999999$a$b", NotAHash::Cost("")),
            ("$argon2id$v=19$m=64,t=1,p=1$$", NotAHash::Bytes),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$", NotAHash::Bytes),
            ("$scram-sha-256$i=4095$a$b$c", NotAHash::Cost("")),
            ("$scram-sha-256$4096$a$b$c", NotAHash::Parts("")),
            ("$scram-sha-256$i=4096$a$b", NotAHash::Parts("")),
            ("$scram-sha-256$i=4096$c2FsdHNhbHQ$$", NotAHash::Bytes),
        ] {
            let found = PasswordHash::parse(text).map(|hash| hash.to_string());
            let alike = found.as_ref().is_err_and(|found| {
                core::mem::discriminant(found) == core::mem::discriminant(&expected)
            });
            assert!(alike, "{text}: {found:?}");
        }
        let cut = format!("$6${salt}$aGFzaA==");
        assert_eq!(PasswordHash::parse(&cut), Err(NotAHash::Bytes));
    }

    #[test]
    fn hashes_are_never_shown_by_accident() {
        let hash = PasswordHash::parse(OF_OTHERS[0].1).unwrap();
        assert_eq!(format!("{hash:?}"), "pbkdf2-sha512");
    }
}
