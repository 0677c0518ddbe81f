//! JSON web tokens (RFC 7519, in the compact form of RFC 7515), sent in place of a password.
//!
//! The signature is checked by ring; the rest is what this module is about. Everything in a token
//! that is not as it should be refuses it, also what others would pass over: a date that is no
//! number, an audience nobody expects, an extension that is critical.

mod keys;
mod rules;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use crate::basis;
use crate::config::{Config, Problem};
use crate::secret;
use base64ct::{Base64UrlUnpadded, Encoding};
use core::fmt;
use keys::Key;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;
use whimbrel_core::access::identity::Grant;
use whimbrel_core::tenant;
use whimbrel_core::time::UnixTime;

/// Far more than a token has that fits into an HTTP header.
const TOKEN_BYTES_MAXIMUM: usize = 16 << 10;
/// Signatures that are checked for one token, which is done on the thread that carries messages:
/// two keys that replace each other, for two algorithms' worth of doubt. Each takes ring some 30 µs
/// (RS256 of 2,048 bits), 60 (EdDSA), 80 (ES256) or 100 (RS256 of 4,096 bits): a fraction of the
/// TLS handshake before it, so a queue and a thread of their own would cost more than they are good
/// for.
const TRIES_MAXIMUM: usize = 4;
/// Groups that a token may name.
const GROUPS_MAXIMUM: usize = 64;

pub(crate) struct Tokens {
    keys: Vec<Key>,
    /// What grants by them rest on, from the first time that anybody asks.
    bases: OnceLock<Vec<u64>>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_s: u64,
    user_claim: String,
    client_id_claim: Option<String>,
    groups_claim: Option<String>,
    rules_claim: Option<String>,
    tenant_claim: Option<String>,
}

/// Why a token is refused. The client is told no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadToken {
    #[error("it is not a signed token in the compact form")]
    Form,
    #[error("it has a critical extension, which is not known here")]
    Critical,
    #[error("no key here is of its key identifier and its algorithm")]
    NoKey,
    #[error("it names no key, and more than {TRIES_MAXIMUM} of its algorithm may be meant")]
    Ambiguous,
    #[error("its signature is wrong")]
    Signature,
    #[error("the claim \"exp\" is missing or no number: a token has to end")]
    NoEnd,
    #[error("it has expired")]
    Expired,
    #[error("the claim \"nbf\" is in the future, or no number")]
    TooEarly,
    #[error("the claim \"iss\" is not the issuer that is expected")]
    Issuer,
    #[error("the claim \"aud\" is not the audience that is expected")]
    Audience,
    #[error("the claim that names the user is missing, or cannot be a user name")]
    User,
    #[error("the claim that names the client identifier is missing, or names another one")]
    ClientId,
    #[error("the claim that names the groups is no list of names")]
    Groups,
    #[error("the claim that has the rules is missing, or has something that is no rule")]
    Rules,
    #[error("the claim that names the tenant is missing, or cannot be a name")]
    Tenant,
}

impl Tokens {
    /// Reads the keys; `None` when none are configured.
    pub(crate) fn prepare(
        config: &Config,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) -> Option<Self> {
        let before = problems.len();
        let mut all = Vec::new();
        if let Some(path) = &config.jwt_key_file {
            read_keys(
                "jwt_key_file",
                path,
                (problems, warnings),
                &mut all,
                keys::read_public,
            );
        }
        if let Some(path) = &config.jwt_secret_file {
            let read = |text: &str| keys::read_secret(text).map(|key| (vec![key], Vec::new()));
            read_keys(
                "jwt_secret_file",
                path,
                (problems, warnings),
                &mut all,
                read,
            );
        }
        if problems.len() > before {
            return None;
        }
        if all.is_empty() {
            // What was meant to restrict must not go unnoticed.
            for (key, value) in [
                ("jwt_issuer", &config.jwt_issuer),
                ("jwt_audience", &config.jwt_audience),
                ("jwt_client_id_claim", &config.jwt_client_id_claim),
                ("jwt_groups_claim", &config.jwt_groups_claim),
                ("jwt_rules_claim", &config.jwt_rules_claim),
                ("jwt_tenant_claim", &config.jwt_tenant_claim),
            ] {
                if value.is_some() {
                    let message = "there are no keys for tokens; name them as jwt_key_file or \
                                   jwt_secret_file, or leave this out";
                    let message = message.to_owned();
                    problems.push(Problem { key, message });
                }
            }
            return None;
        }
        for algorithm in all.iter().map(Key::algorithm).collect::<BTreeSet<_>>() {
            let of_it = all.iter().filter(|key| key.algorithm() == algorithm);
            if of_it.count() > TRIES_MAXIMUM {
                warnings.push(Problem {
                    key: "jwt_key_file",
                    message: format!(
                        "there are more than {TRIES_MAXIMUM} keys for {algorithm}: tokens without \"kid\" \
                         are refused, since all of them might be meant"
                    ),
                });
            }
        }
        Some(Self {
            keys: all,
            bases: OnceLock::new(),
            issuer: config.jwt_issuer.clone(),
            audience: config.jwt_audience.clone(),
            leeway_s: config.jwt_leeway_s.into(),
            user_claim: config.jwt_user_claim.clone(),
            client_id_claim: config.jwt_client_id_claim.clone(),
            groups_claim: config.jwt_groups_claim.clone(),
            rules_claim: config.jwt_rules_claim.clone(),
            tenant_claim: config.jwt_tenant_claim.clone(),
        })
    }

    /// What a grant rests on that a token of this key has brought: the key, and what has to be in
    /// tokens.
    fn basis(&self, key: &Key) -> u64 {
        let whose = (&self.issuer, &self.audience, &self.user_claim);
        let claims = (&self.groups_claim, &self.rules_claim, &self.tenant_claim);
        basis::of("token", (key.mark(), whose, claims, &self.client_id_claim))
    }

    /// Whether a token that was checked with a key of these, in this way, has this basis.
    pub(crate) fn stand_behind(&self, basis: u64) -> bool {
        let bases = self.bases.get_or_init(|| {
            let keys = self.keys.iter();
            keys.map(|key| self.basis(key)).collect()
        });
        bases.contains(&basis)
    }

    /// Whether something that was sent as a password is a token, good or bad.
    pub(crate) fn is_token(password: &[u8]) -> bool {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut parts = password.split(|byte| *byte == b'.');
        // `{"`, as every header begins that any library writes.
        password.starts_with(b"eyJ")
            && parts
                .by_ref()
                .take(3)
                .filter(|part| part.iter().all(is_letter))
                .count()
                == 3
            && parts.next().is_none()
    }

    /// What a token grants to the client of this identifier now.
    pub(crate) fn check(&self, token: &[u8], client_id: &str) -> Result<Grant, BadToken> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.check_at(now.map_or(0, |now| now.as_secs()), token, client_id)
    }

    /// The same at some second since 1970.
    fn check_at(&self, now_s: u64, token: &[u8], client_id: &str) -> Result<Grant, BadToken> {
        let (claims, key) = self.claims(token)?;
        let ends_s = seconds(&claims, "exp").ok_or(BadToken::NoEnd)?;
        let ends_s = ends_s.saturating_add(self.leeway_s);
        if now_s >= ends_s {
            return Err(BadToken::Expired);
        }
        if claims.contains_key("nbf") {
            let begins_s = seconds(&claims, "nbf").ok_or(BadToken::TooEarly)?;
            if now_s.saturating_add(self.leeway_s) < begins_s {
                return Err(BadToken::TooEarly);
            }
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if self.issuer.is_some() && issuer != self.issuer.as_deref() {
            return Err(BadToken::Issuer);
        }
        // A token that is for somebody is for nobody else (RFC 7519, section 4.1.3).
        if !is_for(claims.get("aud"), self.audience.as_deref()) {
            return Err(BadToken::Audience);
        }
        let user = claims.get(&self.user_claim).and_then(Value::as_str);
        let user = user.filter(|user| is_name(user)).ok_or(BadToken::User)?;
        if let Some(claim) = &self.client_id_claim
            && claims.get(claim).and_then(Value::as_str) != Some(client_id)
        {
            return Err(BadToken::ClientId);
        }
        let groups = match &self.groups_claim {
            None => Vec::new(),
            Some(claim) => groups(claims.get(claim)).ok_or(BadToken::Groups)?,
        };
        let rules = match &self.rules_claim {
            None => Vec::new(),
            Some(claim) => rules::read(claims.get(claim)).ok_or(BadToken::Rules)?,
        };
        let tenant = match &self.tenant_claim {
            None => None,
            Some(claim) => {
                let name = claims.get(claim).and_then(Value::as_str);
                let name = name.filter(|name| tenant::is_name(name));
                Some(name.ok_or(BadToken::Tenant)?.to_owned())
            }
        };
        Ok(Grant {
            groups,
            rules,
            tenant,
            ends_at: Some(UnixTime(ends_s.saturating_mul(1_000))),
            basis: self.basis(key),
            ..Grant::to(user)
        })
    }

    /// The claims of a token whose signature is good, and the key that has made that.
    fn claims(&self, token: &[u8]) -> Result<(Map<String, Value>, &Key), BadToken> {
        let token = core::str::from_utf8(token).map_err(|_| BadToken::Form)?;
        if token.len() > TOKEN_BYTES_MAXIMUM {
            return Err(BadToken::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Form)?;
        let signature = decode(signature)?;
        let header = object(header)?;
        if header.contains_key("crit") {
            return Err(BadToken::Critical);
        }
        let named = header.get("alg").and_then(Value::as_str);
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(BadToken::Form),
        };
        // A key without a name may be meant by any.
        let is_meant = |key: &&Key| {
            let names_agree = match (id, &key.id) {
                (Some(id), Some(of_key)) => id == of_key,
                (None, _) | (_, None) => true,
            };
            names_agree && named == Some(key.algorithm())
        };
        let meant: Vec<&Key> = self.keys.iter().filter(is_meant).collect();
        match meant.len() {
            0 => return Err(BadToken::NoKey),
            1..=TRIES_MAXIMUM => {}
            _ => return Err(BadToken::Ambiguous),
        }
        let mut meant = meant.into_iter();
        let key = meant.find(|key| key.has_signed(signed.as_bytes(), &signature));
        let key = key.ok_or(BadToken::Signature)?;
        Ok((object(claims)?, key))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: BTreeSet<&str> = self.keys.iter().map(Key::algorithm).collect();
        let algorithms: Vec<&str> = algorithms.into_iter().collect();
        let algorithms = algorithms.join(", ");
        match self.keys.len() {
            1 => write!(f, "a key about tokens ({algorithms})"),
            keys => write!(f, "{keys} keys about tokens ({algorithms})"),
        }
    }
}

/// Reads a file of keys.
fn read_keys(
    key: &'static str,
    path: &str,
    (problems, warnings): (&mut Vec<Problem>, &mut Vec<Problem>),
    all: &mut Vec<Key>,
    read: impl FnOnce(&str) -> Result<(Vec<Key>, Vec<String>), String>,
) {
    let mut text = match secret::read(path) {
        Ok(secret) => secret,
        Err(message) => return problems.push(Problem { key, message }),
    };
    let exposed = text.warning.take();
    match read(&text.text) {
        Ok((keys, passed_over)) => {
            // Public keys are no secret, but whoever can change them lets himself in.
            let is_public = !keys.iter().any(Key::is_secret);
            let exposed = exposed.filter(|warning| !is_public || warning.contains("change"));
            all.extend(keys);
            let messages = passed_over.into_iter().map(|why| format!("{path}: {why}"));
            let messages = messages.chain(exposed);
            warnings.extend(messages.map(|message| Problem { key, message }));
        }
        Err(why) => problems.push(Problem {
            key,
            message: format!("{path}: {why}"),
        }),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, BadToken> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| BadToken::Form)
}

fn object(text: &str) -> Result<Map<String, Value>, BadToken> {
    match serde_json::from_slice(&decode(text)?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(BadToken::Form),
    }
}

/// A date in a claim, in seconds since 1970; fractions are cut off.
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    let number = claims.get(name)?.as_number()?;
    number.as_u64().or_else(|| {
        let seconds = number
            .as_f64()
            .filter(|seconds| (0.0..9e15).contains(seconds))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        Some(seconds as u64)
    })
}

/// Whether the audience that a token names, if it names one, is ours; ours has to be there if there
/// is one.
fn is_for(named: Option<&Value>, ours: Option<&str>) -> bool {
    match (named, ours) {
        (None, None) => true,
        (Some(Value::String(named)), Some(ours)) => named == ours,
        (Some(Value::Array(named)), Some(ours)) => {
            named.iter().any(|named| named.as_str() == Some(ours))
        }
        (None | Some(_), _) => false,
    }
}

fn groups(claim: Option<&Value>) -> Option<Vec<String>> {
    let Some(claim) = claim else {
        return Some(Vec::new());
    };
    let names = claim
        .as_array()
        .filter(|names| names.len() <= GROUPS_MAXIMUM)?;
    let names = names
        .iter()
        .map(|name| name.as_str().filter(|name| is_name(name)));
    names.map(|name| name.map(str::to_owned)).collect()
}

fn is_name(text: &str) -> bool {
    let fits = (1..=usize::from(u16::MAX)).contains(&text.len());
    fits && !text.contains(char::is_control)
}
