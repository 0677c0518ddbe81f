//! The keys that tokens are checked with, from a PEM file, a JWKS file, or a file with a secret.
//!
//! A key says with which algorithm it is used; a token that names another one is not for it. So no
//! token can turn a public key into a secret (RS256 to HS256), and `none` is nobody's algorithm.

use base64ct::{Base64UrlUnpadded, Encoding};
use core::hash::Hash;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::{Map, Value};
use spki::der::Decode;
use spki::der::asn1::AnyRef;
use spki::{DecodePublicKey, Document, ObjectIdentifier, SubjectPublicKeyInfoRef};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The shortest secret for HS256: as long as its digest (RFC 7518, section 3.2).
const SECRET_BYTES_MINIMUM: usize = 32;
/// The shortest modulus of RSA, in bytes: 2,048 bits (RFC 7518, section 3.3).
const MODULUS_BYTES_MINIMUM: usize = 256;
/// Keys of one file, at most: each may be tried for a token that names none.
const KEYS_MAXIMUM: usize = 32;

/// A key and what it is for.
pub(super) struct Key {
    /// The name that tokens may say.
    pub(super) id: Option<String>,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    /// PKCS #1.
    Rsa(Vec<u8>),
    RsaComponents(RsaPublicKeyComponents<Vec<u8>>),
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// The algorithm that a token has to name.
    pub(super) const fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Secret(_) => "HS256",
            Material::Rsa(_) | Material::RsaComponents(_) => "RS256",
            Material::P256(_) => "ES256",
            Material::Ed25519(_) => "EdDSA",
        }
    }

    /// Whether who knows it can make tokens.
    pub(super) const fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }

    /// Whether this key has signed the message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature),
            Material::Rsa(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            Material::RsaComponents(key) => {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
        }
        .is_ok()
    }

    /// What tells it from every other key. Of a secret it tells nothing more.
    pub(super) fn mark(&self) -> impl Hash + use<> {
        let bytes = match &self.material {
            Material::Secret(key) => hmac::sign(key, b"").as_ref().to_vec(),
            Material::Rsa(key) | Material::P256(key) | Material::Ed25519(key) => key.clone(),
            Material::RsaComponents(key) => [&key.n[..], &key.e].concat(),
        };
        (self.id.clone(), self.algorithm(), bytes)
    }

    const fn new(id: Option<String>, material: Material) -> Self {
        Self { id, material }
    }
}

/// A secret for HS256: all of the file but the end of its last line.
pub(super) fn read_secret(text: &str) -> Result<Key, String> {
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim_start().starts_with("-----BEGIN") {
        return Err("this is a PEM file and no secret; name it as jwt_key_file".to_owned());
    }
    secret_key(None, secret.as_bytes())
}

fn secret_key(id: Option<String>, secret: &[u8]) -> Result<Key, String> {
    if secret.len() < SECRET_BYTES_MINIMUM {
        return Err(format!(
            "the secret has {} bytes; it needs {SECRET_BYTES_MINIMUM} at least, such as `openssl rand \
             -hex 32` makes",
            secret.len()
        ));
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    Ok(Key::new(id, Material::Secret(key)))
}

/// Public keys: one in a PEM file, or a JWKS. The second part tells which keys are passed over.
pub(super) fn read_public(text: &str) -> Result<(Vec<Key>, Vec<String>), String> {
    if text.trim_start().starts_with('{') {
        read_jwks(text)
    } else {
        read_pem(text).map(|key| (vec![key], Vec::new()))
    }
}

fn read_pem(text: &str) -> Result<Key, String> {
    let label = text.split("-----BEGIN ").nth(1);
    let label = label.and_then(|rest| rest.split("-----").next());
    match label {
        None => {
            return Err(
                "this is neither a public key in PEM (-----BEGIN PUBLIC KEY-----) nor a JWKS"
                    .to_owned(),
            );
        }
        Some(label) if label.contains("PRIVATE KEY") => {
            return Err(
                "this is a private key, which only belongs to whoever makes the tokens; `openssl pkey \
                 -pubout` gives the public one"
                    .to_owned(),
            );
        }
        Some("CERTIFICATE") => {
            return Err(
                "this is a certificate; `openssl x509 -noout -pubkey` gives its public key"
                    .to_owned(),
            );
        }
        Some("RSA PUBLIC KEY") => {
            return Err(
                "this is a key in the form of PKCS #1; `openssl rsa -RSAPublicKey_in -pubout` gives the \
                 usual one"
                    .to_owned(),
            );
        }
        Some(_) => {}
    }
    let document = Document::from_public_key_pem(text.trim())
        .map_err(|error| format!("the public key is damaged: {error}"))?;
    let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes())
        .map_err(|error| format!("the public key is damaged: {error}"))?;
    let bytes = info.subject_public_key.as_bytes();
    let bytes = bytes.ok_or("the public key is damaged")?.to_vec();
    let algorithm = &info.algorithm;
    let curve = algorithm
        .parameters
        .and_then(|any: AnyRef<'_>| ObjectIdentifier::try_from(any).ok());
    let material = match (algorithm.oid, curve) {
        (RSA, _) if bytes.len() < MODULUS_BYTES_MINIMUM => return Err(short_rsa()),
        (RSA, _) => Material::Rsa(bytes),
        (EC, Some(P256)) => Material::P256(bytes),
        (ED25519_KEY, _) => Material::Ed25519(bytes),
        (EC, _) => {
            return Err("the key is of a curve that is not offered; P-256 is (ES256)".to_owned());
        }
        _ => return Err("the key is neither of RSA nor of P-256 nor of Ed25519".to_owned()),
    };
    Ok(Key::new(None, material))
}

fn short_rsa() -> String {
    "the RSA key is shorter than 2,048 bits; make a longer one".to_owned()
}

fn read_jwks(text: &str) -> Result<(Vec<Key>, Vec<String>), String> {
    let set: Value =
        serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?;
    let Some(Value::Array(entries)) = set.get("keys") else {
        return Err("this is JSON, but no JWKS: it has no list called \"keys\"".to_owned());
    };
    if entries.len() > KEYS_MAXIMUM {
        return Err(format!("there are more than {KEYS_MAXIMUM} keys in it"));
    }
    let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        match entry
            .as_object()
            .ok_or_else(|| "it is no object".to_owned())
            .and_then(read_jwk)
        {
            Ok(key) => keys.push(key),
            Err(why) => passed_over.push(format!("key {} is passed over: {why}", index + 1)),
        }
    }
    if keys.is_empty() {
        let why = passed_over.first().map(|why| format!("; {why}"));
        return Err(format!(
            "there is no key in it that can be used{}",
            why.unwrap_or_default()
        ));
    }
    Ok((keys, passed_over))
}

fn read_jwk(jwk: &Map<String, Value>) -> Result<Key, String> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        let text = text(name).ok_or_else(|| format!("it has no \"{name}\""))?;
        Base64UrlUnpadded::decode_vec(text).map_err(|_| format!("its \"{name}\" is damaged"))
    };
    if text("use").is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures".to_owned());
    }
    let id = text("kid").map(str::to_owned);
    let key = match (text("kty"), text("crv")) {
        (Some("oct"), _) => secret_key(id, &bytes("k")?)?,
        (Some("RSA"), _) => {
            let (mut n, e) = (bytes("n")?, bytes("e")?);
            // ring takes no leading zeros.
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            n.drain(..zeros);
            if n.len() < MODULUS_BYTES_MINIMUM {
                return Err(short_rsa());
            }
            Key::new(id, Material::RsaComponents(RsaPublicKeyComponents { n, e }))
        }
        (Some("EC"), Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != 32 || y.len() != 32 {
                return Err("its \"x\" or \"y\" is cut off".to_owned());
            }
            Key::new(id, Material::P256([&[4][..], &x, &y].concat()))
        }
        (Some("OKP"), Some("Ed25519")) => {
            let x = bytes("x")?;
            if x.len() != 32 {
                return Err("its \"x\" is cut off".to_owned());
            }
            Key::new(id, Material::Ed25519(x))
        }
        (kind, _) => {
            return Err(format!(
                "its kind (\"{}\") or curve is not offered; RSA, P-256, Ed25519 and secrets are",
                kind.unwrap_or_default()
            ));
        }
    };
    match text("alg") {
        Some(named) if named != key.algorithm() => Err(format!(
            "it is for \"{named}\", which is not offered; HS256, RS256, ES256 and EdDSA are"
        )),
        Some(_) | None => Ok(key),
    }
}
