//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
//!
//! ```text
//! client                                     server
//!   n,,n=USER,r=NONCE               ───▶
//!                                   ◀───      r=NONCE+OURS,s=SALT,i=ITERATIONS
//!   c=biws,r=NONCE+OURS,p=PROOF     ───▶
//!                                   ◀───      v=SIGNATURE
//! ```
//!
//! What the first half leaves for the second is an [`Exchange`], which the broker keeps with the
//! connection. A user who is not there, or has no keys, is answered like one who has: with a salt
//! that is always the same for one name. Only the last message is refused, as for a wrong password.

use crate::hash::{PasswordHash, ScramKeys, hmac_sha256};
use crate::users::Users;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The method's name in MQTT.
pub(crate) const METHOD: &str = "SCRAM-SHA-256";

/// Nonces of clients, at most; ours is added to it.
const NONCE_BYTES_MAXIMUM: usize = 256;
const OUR_NONCE_BYTES: usize = 18;
const SALT_BYTES: usize = 16;

/// What has been said so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// `n,,` and what the client has put between the commas.
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
}

/// Why an exchange does not go on. The client is told no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// It is not a message of the standard.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client wants its TLS channel bound, which was not offered.
    #[error("channel binding is not offered")]
    ChannelBinding,
    /// The client wants to act for somebody else.
    #[error("acting for somebody else is not offered")]
    OtherUser,
    /// The user is unknown, has no keys, or the proof is wrong.
    #[error("wrong proof, unknown user, or one without SCRAM keys")]
    Proof,
}

/// A message that the client is sent, and what to remember.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) data: Vec<u8>,
    pub(crate) exchange: Exchange,
    /// Whom the client says it is.
    pub(crate) user: String,
}

/// Answers the first message of a client.
pub(crate) fn first(
    message: &[u8],
    users: &Users,
    secret: &[u8],
    our_nonce: [u8; OUR_NONCE_BYTES],
) -> Result<First, Failure> {
    let message = core::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let mut parts = message.splitn(3, ',');
    let mut next = || parts.next().ok_or(Failure::Malformed);
    let (binding, other_user, bare) = (next()?, next()?, next()?);
    match binding {
        "n" | "y" => {}
        _ if binding.starts_with("p=") => return Err(Failure::ChannelBinding),
        _ => return Err(Failure::Malformed),
    }
    let (user, nonce) = names_in(bare)?;
    if !other_user.is_empty() {
        let other = other_user.strip_prefix("a=").ok_or(Failure::Malformed)?;
        if unescape(other)? != user {
            return Err(Failure::OtherUser);
        }
    }
    let keys = keys_of(users, &user);
    let (salt, iterations) = match keys {
        Some(keys) => (keys.salt.clone(), keys.iterations),
        None => decoy(users, secret, &user),
    };
    let salt = Base64::encode_string(&salt);
    let our_nonce = Base64::encode_string(&our_nonce);
    let server_first = format!("r={nonce}{our_nonce},s={salt},i={iterations}");
    Ok(First {
        data: server_first.clone().into_bytes(),
        exchange: Exchange {
            gs2_header: format!("{binding},{other_user},"),
            client_first_bare: bare.to_owned(),
            server_first,
        },
        user,
    })
}

/// Who has sent the last message of the exchange, and the answer to it.
pub(crate) fn last(
    message: &[u8],
    exchange: &Exchange,
    users: &Users,
) -> Result<(String, Vec<u8>), Failure> {
    let message = core::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Failure::Malformed)?;
    let mut fields = without_proof.split(',');
    let binding = fields.next().and_then(|field| field.strip_prefix("c="));
    let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
    let expected_nonce = exchange.server_first.split(',').next();
    let expected_nonce = expected_nonce.and_then(|field| field.strip_prefix("r="));
    if binding != Some(&*Base64::encode_string(exchange.gs2_header.as_bytes()))
        || nonce.is_none()
        || nonce != expected_nonce
    {
        return Err(Failure::Malformed);
    }
    let proof: [u8; 32] = Base64::decode_vec(proof)
        .ok()
        .and_then(|proof| proof.try_into().ok())
        .ok_or(Failure::Malformed)?;
    let (user, _) = names_in(&exchange.client_first_bare)?;
    let nobody = ScramKeys {
        iterations: 0,
        salt: Vec::new(),
        stored_key: [0; 32],
        server_key: [0; 32],
    };
    let keys = keys_of(users, &user);
    let is_known = keys.is_some();
    let keys = keys.unwrap_or(&nobody);

    let said = [
        exchange.client_first_bare.as_bytes(),
        b",",
        exchange.server_first.as_bytes(),
        b",",
        without_proof.as_bytes(),
    ];
    let signature = hmac_sha256(&keys.stored_key, &said);
    let mut client_key = proof;
    for (byte, mask) in client_key.iter_mut().zip(signature) {
        *byte ^= mask;
    }
    let is_right = Sha256::digest(client_key).ct_eq(&keys.stored_key);
    if !(bool::from(is_right) && is_known) {
        return Err(Failure::Proof);
    }
    let signature = hmac_sha256(&keys.server_key, &said);
    let data = format!("v={}", Base64::encode_string(&signature));
    Ok((user, data.into_bytes()))
}

impl Exchange {
    /// As the bytes that the broker keeps.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // None of the three can have a NUL: they are refused in names, and the rest is ASCII.
        let parts = [
            &*self.gs2_header,
            &self.client_first_bare,
            &self.server_first,
        ];
        parts.join("\0").into_bytes()
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = core::str::from_utf8(bytes).ok()?.split('\0');
        let mut next = || parts.next().map(str::to_owned);
        let exchange = Self {
            gs2_header: next()?,
            client_first_bare: next()?,
            server_first: next()?,
        };
        parts.next().is_none().then_some(exchange)
    }
}

fn keys_of<'a>(users: &'a Users, user: &str) -> Option<&'a ScramKeys> {
    match &users.get(user)?.hash {
        PasswordHash::ScramSha256(keys) => Some(keys),
        PasswordHash::Argon2id { .. }
        | PasswordHash::Pbkdf2Sha512 { .. }
        | PasswordHash::Sha512 { .. } => None,
    }
}

/// Salt and iterations for a user without keys: those of somebody else, but for the salt. They
/// follow from the first keys of the file, so that they are the same after a restart and after most
/// changes of the file; without any, from a secret of this process.
fn decoy(users: &Users, secret: &[u8], user: &str) -> (Vec<u8>, u32) {
    let first = users.iter().find_map(|user| match &user.hash {
        PasswordHash::ScramSha256(keys) => Some(keys),
        PasswordHash::Argon2id { .. }
        | PasswordHash::Pbkdf2Sha512 { .. }
        | PasswordHash::Sha512 { .. } => None,
    });
    let (secret, iterations, salt_bytes) = match first {
        Some(keys) => (&keys.server_key[..], keys.iterations, keys.salt.len()),
        None => (secret, crate::hash::SCRAM_ITERATIONS, SALT_BYTES),
    };
    let mut salt = hmac_sha256(secret, &[b"salt of ", user.as_bytes()]).to_vec();
    salt.extend(hmac_sha256(secret, &[b"more salt of ", user.as_bytes()]));
    salt.truncate(salt_bytes);
    (salt, iterations)
}

/// The user and the nonce in the first message of a client.
fn names_in(bare: &str) -> Result<(String, &str), Failure> {
    // A mandatory extension, `m=`, would stand where `n=` is expected.
    let mut fields = bare.split(',');
    let user = fields.next().and_then(|field| field.strip_prefix("n="));
    let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
    let (Some(user), Some(nonce)) = (user, nonce) else {
        return Err(Failure::Malformed);
    };
    let is_nonce = !nonce.is_empty()
        && nonce.len() <= NONCE_BYTES_MAXIMUM
        && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    let user = unescape(user)?;
    if user.is_empty() || bare.contains(char::is_control) || !is_nonce {
        return Err(Failure::Malformed);
    }
    Ok((user, nonce))
}

/// `=2C` is a comma, `=3D` an equals sign; no other stands behind one.
fn unescape(text: &str) -> Result<String, Failure> {
    let mut pieces = text.split('=');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(Failure::Malformed),
        };
        plain.push(character);
        plain.push_str(rest);
    }
    Ok(plain)
}

/// A nonce that nobody can foretell.
///
/// # Errors
///
/// The system gives no random bytes.
pub(crate) fn new_nonce() -> Result<[u8; OUR_NONCE_BYTES], getrandom::Error> {
    let mut nonce = [0; OUR_NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::{User, with_user};

    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";

    fn users(names: &[&str]) -> Users {
        let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", salt, 4_096);
        let hash = PasswordHash::ScramSha256(keys);
        let text = names.iter().fold(String::new(), |text, name| {
            with_user(&text, &User::new(name, hash.clone(), &[]).unwrap())
        });
        Users::parse(&text).unwrap()
    }

    fn begin(users: &Users, message: &[u8]) -> Result<First, Failure> {
        first(message, users, b"secret", [7; OUR_NONCE_BYTES])
    }

    /// What a client that knows `password` sends last.
    fn proof(first: &First, password: &[u8]) -> Vec<u8> {
        let server_first = core::str::from_utf8(&first.data).unwrap();
        let fields: Vec<&str> = server_first.split(',').map(|field| &field[2..]).collect();
        let salt = Base64::decode_vec(fields[1]).unwrap();
        let iterations = fields[2].parse().unwrap();
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, iterations, &mut salted);
        let mut proof = hmac_sha256(&salted, &[b"Client Key"]);
        let stored_key = Sha256::digest(proof);
        let binding = Base64::encode_string(first.exchange.gs2_header.as_bytes());
        let without_proof = format!("c={binding},r={}", fields[0]);
        let bare = &first.exchange.client_first_bare;
        let said = format!("{bare},{server_first},{without_proof}");
        let signature = hmac_sha256(&stored_key, &[said.as_bytes()]);
        for (byte, mask) in proof.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        format!("{without_proof},p={}", Base64::encode_string(&proof)).into_bytes()
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_exchange_is_that_of_the_standard() {
        let users = users(&["user"]);
        let exchange = Exchange {
            gs2_header: "n,,".to_owned(),
            client_first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                           s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
                .to_owned(),
        };
        let exchange = Exchange::from_bytes(&exchange.to_bytes()).unwrap();
        let client_last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let (user, data) = last(client_last, &exchange, &users).unwrap();
        assert_eq!(user, "user");
        assert_eq!(data, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn who_knows_the_password_is_let_in_and_nobody_else() {
        let users = users(&["user", "a,b=c", "zoë"]);
        for (message, name) in [
            (CLIENT_FIRST, "user"),
            (b"y,,n=user,r=x,extension=1", "user"),
            (b"n,a=user,n=user,r=x", "user"),
            (b"n,,n=a=2Cb=3Dc,r=x", "a,b=c"),
            ("n,,n=zoë,r=x".as_bytes(), "zoë"),
        ] {
            let first = begin(&users, message).unwrap();
            assert_eq!(first.user, name);
            let answer = last(&proof(&first, b"pencil"), &first.exchange, &users);
            assert_eq!(answer.unwrap().0, name);
            let answer = last(&proof(&first, b"pencils"), &first.exchange, &users);
            assert_eq!(answer, Err(Failure::Proof));
        }
    }

    #[test]
    fn a_proof_is_good_for_its_exchange_alone() {
        let users = users(&["user", "other"]);
        let first_of = |message: &[u8], ours: u8| {
            first(message, &users, b"secret", [ours; OUR_NONCE_BYTES]).unwrap()
        };
        let mine = first_of(CLIENT_FIRST, 1);
        let good = proof(&mine, b"pencil");
        assert!(last(&good, &mine.exchange, &users).is_ok());
        let later = first_of(CLIENT_FIRST, 2);
        assert_eq!(
            last(&good, &later.exchange, &users),
            Err(Failure::Malformed)
        );
        let of_other = first_of(b"n,,n=other,r=rOprNGfwEbeRWgbNEkqO", 1);
        assert_eq!(last(&good, &of_other.exchange, &users), Err(Failure::Proof));
    }

    /// Enumeration: an unknown user is answered like a known one, and always alike.
    #[test]
    fn unknown_users_cannot_be_told_from_known_ones() {
        let users = users(&["user"]);
        let ask = |secret: &[u8], name: &str| {
            let message = format!("n,,n={name},r=x");
            first(message.as_bytes(), &users, secret, [1; OUR_NONCE_BYTES]).unwrap()
        };
        let (known, unknown) = (ask(b"s", "user"), ask(b"s", "mallory"));
        assert_eq!(known.data.len(), unknown.data.len());
        assert_ne!(known.data, unknown.data);
        assert_eq!(ask(b"s", "mallory").data, unknown.data);
        assert_eq!(ask(b"after a restart", "mallory").data, unknown.data);
        assert_ne!(ask(b"s", "trudy").data, unknown.data);
        let answer = last(&proof(&unknown, b"pencil"), &unknown.exchange, &users);
        assert_eq!(answer, Err(Failure::Proof));
        // Nor does a proof for the keys that nobody has help: it would have to hash to zeros.
        let nothing = format!(
            "c=biws,r=x{},p={}",
            Base64::encode_string(&[1; OUR_NONCE_BYTES]),
            Base64::encode_string(&[0; 32])
        );
        let answer = last(nothing.as_bytes(), &unknown.exchange, &users);
        assert_eq!(answer, Err(Failure::Proof));
    }

    #[test]
    fn users_without_keys_are_answered_like_unknown_ones() {
        let hash = PasswordHash::parse(
            "$6$LxRr16jLTSnHmK9R$J5FRsvJK/8nwpUo3o+nl5pJVMutPCVFgWYjPVfzilkPX87QTjJ0fhpT9Wo4TMa8XHG5Jn9E9ad3Emc2jcLlsUw==",
        );
        let user = User::new("user", hash.unwrap(), &[]).unwrap();
        let users = Users::parse(&user.to_string()).unwrap();
        let first = begin(&users, CLIENT_FIRST).unwrap();
        let answer = last(&proof(&first, b"secret"), &first.exchange, &users);
        assert_eq!(answer, Err(Failure::Proof));
    }

    #[test]
    fn what_is_not_of_the_standard_is_refused() {
        let users = users(&["user"]);
        for (message, failure) in [
            (&b""[..], Failure::Malformed),
            (b"n,,", Failure::Malformed),
            (b"n,,n=user", Failure::Malformed),
            (b"n,,n=user,r=", Failure::Malformed),
            (b"n,,n=,r=x", Failure::Malformed),
            (b"n,,r=x,n=user", Failure::Malformed),
            (b"n,,m=must,n=user,r=x", Failure::Malformed),
            (b"n,,n=us=er,r=x", Failure::Malformed),
            (b"n,,n=user=,r=x", Failure::Malformed),
            (b"n,,n=us\0er,r=x", Failure::Malformed),
            (b"n,,n=\xff,r=x", Failure::Malformed),
            (b"q,,n=user,r=x", Failure::Malformed),
            (b"n,user,n=user,r=x", Failure::Malformed),
            (b"n,a=root,n=user,r=x", Failure::OtherUser),
            (b"p=tls-unique,,n=user,r=x", Failure::ChannelBinding),
        ] {
            assert_eq!(begin(&users, message), Err(failure), "{message:?}");
        }
        let long = format!("n,,n=user,r={}", "x".repeat(NONCE_BYTES_MAXIMUM + 1));
        assert_eq!(begin(&users, long.as_bytes()), Err(Failure::Malformed));
        let first = begin(&users, CLIENT_FIRST).unwrap();
        let good = String::from_utf8(proof(&first, b"pencil")).unwrap();
        for message in [
            String::new(),
            ",p=".to_owned(),
            good.replace("c=biws", "c=eSws"),
            good.replace("c=biws,", ""),
            good.replace("r=rOpr", "r=xOpr"),
            good.replace(",p=", ",p=AAAA"),
            good.replace(",p=", ",q="),
        ] {
            let answer = last(message.as_bytes(), &first.exchange, &users);
            assert_eq!(answer, Err(Failure::Malformed), "{message}");
        }
        // An extension is part of what was said, so it cannot be put in later.
        let longer = good.replace(",p=", ",x=1,p=");
        let answer = last(longer.as_bytes(), &first.exchange, &users);
        assert_eq!(answer, Err(Failure::Proof));
    }
}
