use super::vectors::{EC, ED, JWKS, NAMED, P384, RSA, SHORT_RSA};
use super::*;
use crate::hash::hmac_sha256;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;
const CLIENT: &str = "c1";

fn tokens(keys: Vec<Key>) -> Tokens {
    Tokens {
        keys,
        bases: OnceLock::new(),
        issuer: None,
        audience: None,
        leeway_s: 30,
        user_claim: "sub".to_owned(),
        client_id_claim: None,
        groups_claim: None,
        rules_claim: None,
        tenant_claim: None,
    }
}

fn with_secret() -> Tokens {
    tokens(vec![keys::read_secret(SECRET).unwrap()])
}

fn with_public(text: &str) -> Tokens {
    Tokens {
        audience: Some("mqtt".to_owned()),
        issuer: Some("https://id.example.org".to_owned()),
        groups_claim: Some("groups".to_owned()),
        client_id_claim: Some("cid".to_owned()),
        ..tokens(keys::read_public(text).unwrap().0)
    }
}

/// A token with the signature of HS256, whatever its header says.
fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = hmac_sha256(secret, &[signed.as_bytes()]);
    format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature))
}

fn hs256(claims: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, claims, SECRET.as_bytes())
}

fn outcome(tokens: &Tokens, token: &str) -> Result<Grant, BadToken> {
    tokens.check_at(NOW, token.as_bytes(), CLIENT)
}

#[test]
fn tokens_that_others_made_are_good() {
    for (public, token) in [RSA, EC, ED] {
        let grant = outcome(&with_public(public), token).unwrap();
        assert_eq!(grant.user.as_deref(), Some("sensor-7"));
        assert_eq!(grant.groups, ["sensors", "hall-3"]);
        assert_eq!(grant.ends_at, Some(UnixTime((4_102_444_800 + 30) * 1_000)));
        assert!(Tokens::is_token(token.as_bytes()));
        // The same keys in the other form.
        assert!(outcome(&with_public(JWKS), token).is_ok());
    }
}

#[test]
fn a_token_with_a_changed_byte_is_refused() {
    let tokens = with_public(EC.0);
    for at in (0..EC.1.len()).step_by(7) {
        let mut changed = EC.1.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let outcome = tokens.check_at(NOW, &changed, CLIENT);
        assert!(outcome.is_err(), "{at}");
    }
}

/// The header of a token chooses nothing: an algorithm belongs to a key.
#[test]
fn no_token_chooses_its_algorithm() {
    let claims = format!(r#"{{"sub":"root","exp":{}}}"#, NOW + 60);
    // The public key as if it were a secret.
    let confused = signed(r#"{"alg":"HS256"}"#, &claims, RSA.0.as_bytes());
    assert_eq!(
        outcome(&with_public(RSA.0), &confused),
        Err(BadToken::NoKey)
    );
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":""}"#,
        "{}",
    ] {
        let token = signed(header, &claims, SECRET.as_bytes());
        assert_eq!(
            outcome(&with_secret(), &token),
            Err(BadToken::NoKey),
            "{header}"
        );
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        let unsigned = outcome(&with_secret(), &format!("{unsigned}."));
        assert_eq!(unsigned, Err(BadToken::NoKey), "{header}");
    }
    // A key in the header is no key.
    let header = format!(
        r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}}}}"#,
        "A".repeat(43)
    );
    let token = signed(&header, &claims, &[0; 32]);
    assert_eq!(outcome(&with_secret(), &token), Err(BadToken::Signature));
}

#[test]
fn a_key_that_is_named_is_the_one_that_is_meant() {
    let tokens = with_public(JWKS);
    assert!(outcome(&tokens, NAMED.0).is_ok());
    assert_eq!(outcome(&tokens, NAMED.1), Err(BadToken::NoKey));
}

#[test]
fn claims_are_what_they_have_to_be() {
    let later = NOW + 60;
    let tokens = Tokens {
        client_id_claim: None,
        groups_claim: Some("groups".to_owned()),
        ..with_secret()
    };
    for (claims, expected) in [
        (format!(r#"{{"sub":"a","exp":{later}}}"#), Ok(())),
        (format!(r#"{{"sub":"a","exp":{later}.9}}"#), Ok(())),
        (format!(r#"{{"sub":"a","exp":{}}}"#, NOW - 29), Ok(())),
        (
            format!(r#"{{"sub":"a","exp":{}}}"#, NOW - 30),
            Err(BadToken::Expired),
        ),
        (r#"{"sub":"a"}"#.to_owned(), Err(BadToken::NoEnd)),
        (
            format!(r#"{{"sub":"a","exp":"{later}"}}"#),
            Err(BadToken::NoEnd),
        ),
        (r#"{"sub":"a","exp":-1}"#.to_owned(), Err(BadToken::NoEnd)),
        (
            r#"{"sub":"a","exp":1e300}"#.to_owned(),
            Err(BadToken::NoEnd),
        ),
        (r#"{"sub":"a","exp":null}"#.to_owned(), Err(BadToken::NoEnd)),
        (
            format!(r#"{{"sub":"a","exp":{later},"nbf":{}}}"#, NOW + 30),
            Ok(()),
        ),
        (
            format!(r#"{{"sub":"a","exp":{later},"nbf":{}}}"#, NOW + 31),
            Err(BadToken::TooEarly),
        ),
        (
            format!(r#"{{"sub":"a","exp":{later},"nbf":"0"}}"#),
            Err(BadToken::TooEarly),
        ),
        (
            format!(r#"{{"sub":"a","exp":{later},"aud":"other"}}"#),
            Err(BadToken::Audience),
        ),
        (format!(r#"{{"exp":{later}}}"#), Err(BadToken::User)),
        (
            format!(r#"{{"sub":"","exp":{later}}}"#),
            Err(BadToken::User),
        ),
        (format!(r#"{{"sub":7,"exp":{later}}}"#), Err(BadToken::User)),
        (
            format!(r#"{{"sub":"a\u0000","exp":{later}}}"#),
            Err(BadToken::User),
        ),
        (
            format!(r#"{{"sub":"a","exp":{later},"groups":["g"]}}"#),
            Ok(()),
        ),
        (
            format!(r#"{{"sub":"a","exp":{later},"groups":"g"}}"#),
            Err(BadToken::Groups),
        ),
        (
            format!(r#"{{"sub":"a","exp":{later},"groups":[1]}}"#),
            Err(BadToken::Groups),
        ),
        ("[]".to_owned(), Err(BadToken::Form)),
        ("{".to_owned(), Err(BadToken::Form)),
    ] {
        let found = outcome(&tokens, &hs256(&claims)).map(|_| ());
        assert_eq!(found, expected, "{claims}");
    }
}

#[test]
fn a_token_names_the_tenant_where_it_has_to() {
    let later = NOW + 60;
    let tokens = Tokens {
        tenant_claim: Some("org".to_owned()),
        ..with_secret()
    };
    let long = "x".repeat(256);
    for (claim, expected) in [
        (r#","org":"acme""#, Ok(Some("acme"))),
        ("", Err(BadToken::Tenant)),
        (r#","org":"""#, Err(BadToken::Tenant)),
        (r#","org":null"#, Err(BadToken::Tenant)),
        (r#","org":["acme"]"#, Err(BadToken::Tenant)),
        (r#","org":"a\u0000b""#, Err(BadToken::Tenant)),
        (&format!(r#","org":"{long}""#), Err(BadToken::Tenant)),
    ] {
        let claims = format!(r#"{{"sub":"a","exp":{later}{claim}}}"#);
        let found = outcome(&tokens, &hs256(&claims)).map(|grant| grant.tenant);
        let found = found.as_ref().map(Option::as_deref).map_err(|bad| *bad);
        assert_eq!(found, expected, "{claims}");
        // Where nobody asks for it, it says nothing.
        let grant = outcome(&with_secret(), &hs256(&claims)).unwrap();
        assert_eq!(grant.tenant, None, "{claims}");
    }
}

#[test]
fn issuer_audience_and_client_identifier_have_to_be_there_when_they_are_expected() {
    let claims = format!(
        r#"{{"sub":"a","exp":{},"iss":"me","aud":"x","cid":"c1"}}"#,
        NOW + 60
    );
    let token = hs256(&claims);
    let without = hs256(&format!(r#"{{"sub":"a","exp":{}}}"#, NOW + 60));
    let some = |text: &str| Some(text.to_owned());
    type Change = fn(&mut Tokens, Option<String>);
    let changes: [(Change, &str, BadToken); 3] = [
        (|tokens, text| tokens.issuer = text, "me", BadToken::Issuer),
        (
            |tokens, text| tokens.audience = text,
            "x",
            BadToken::Audience,
        ),
        (
            |tokens, text| tokens.client_id_claim = text,
            "cid",
            BadToken::ClientId,
        ),
    ];
    for (change, good, failure) in changes {
        let mut tokens = with_secret();
        tokens.audience = some("x");
        change(&mut tokens, some(good));
        assert!(outcome(&tokens, &token).is_ok());
        change(&mut tokens, some("other"));
        assert_eq!(outcome(&tokens, &token), Err(failure));
        tokens.audience = (failure == BadToken::Audience).then(|| "x".to_owned());
        assert_eq!(outcome(&tokens, &without), Err(failure));
    }
    let mut tokens = with_secret();
    tokens.audience = some("x");
    tokens.client_id_claim = some("cid");
    let of_other = tokens.check_at(NOW, token.as_bytes(), "c2");
    assert_eq!(of_other, Err(BadToken::ClientId));
}

#[test]
fn what_is_not_a_token_is_refused_and_not_taken_for_one() {
    let tokens = with_secret();
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "eyJ.eyJ.",
        "eyJ9.eyJ9.AA",
        "eyJhIjox.AA",
    ] {
        assert!(outcome(&tokens, text).is_err(), "{text}");
    }
    for (password, is_token) in [
        ("eyJ9.eyJ9.AA", true),
        ("eyJ9.eyJ9.", true),
        ("eyJ9.eyJ9", false),
        ("eyJ9.eyJ9.a.b", false),
        ("eyJ9.eyJ 9.AA", false),
        ("password", false),
        ("a.b.c", false),
    ] {
        assert_eq!(
            Tokens::is_token(password.as_bytes()),
            is_token,
            "{password}"
        );
    }
    let crit = r#"{"alg":"HS256","crit":["exp"]}"#;
    let claims = format!(r#"{{"sub":"a","exp":{}}}"#, NOW + 60);
    let token = signed(crit, &claims, SECRET.as_bytes());
    assert_eq!(outcome(&tokens, &token), Err(BadToken::Critical));
    let long = hs256(&format!(
        r#"{{"sub":"{}"}}"#,
        "a".repeat(TOKEN_BYTES_MAXIMUM)
    ));
    assert_eq!(outcome(&tokens, &long), Err(BadToken::Form));
}

#[test]
fn keys_of_the_wrong_kind_are_told_with_the_remedy() {
    let public = |text: &str| keys::read_public(text).err().unwrap();
    for (text, expected) in [
        ("", "neither a public key in PEM"),
        (SECRET, "neither a public key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAA\n", "this is a private key"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nAA\n",
            "this is a private key",
        ),
        ("-----BEGIN CERTIFICATE-----\nAA\n", "openssl x509"),
        ("-----BEGIN RSA PUBLIC KEY-----\nAA\n", "PKCS #1"),
        (
            "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n",
            "damaged",
        ),
        (P384, "P-256 is (ES256)"),
        (SHORT_RSA, "shorter than 2,048 bits"),
        ("{}", "no list called \"keys\""),
        ("{", "not JSON"),
        (r#"{"keys":[]}"#, "no key in it that can be used"),
        (r#"{"keys":[{"kty":"EC","crv":"P-521"}]}"#, "is not offered"),
        (r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, "32 at least"),
        (
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","use":"enc"}]}"#,
            "not for signatures",
        ),
        (
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","alg":"RS256"}]}"#,
            "not offered",
        ),
    ] {
        assert!(public(text).contains(expected), "{text}: {}", public(text));
    }
    for (text, expected) in [("short\n", "32 at least"), (RSA.0, "jwt_key_file")] {
        let why = keys::read_secret(text).err().unwrap();
        assert!(why.contains(expected), "{why}");
    }
    let mixed = JWKS.replace("\"EC\"", "\"EX\"");
    let (keys, passed_over) = keys::read_public(&mixed).unwrap();
    assert_eq!(keys.len(), 2);
    assert!(passed_over[0].starts_with("key 2 is passed over"));
}

/// What a token may make the broker reckon is bounded: that is done where messages wait for it.
#[test]
fn a_token_that_names_no_key_is_tried_with_few() {
    let secret = |number: usize| format!("{SECRET}{number}");
    let of = |count| {
        tokens(
            (0..count)
                .map(|n| keys::read_secret(&secret(n)).unwrap())
                .collect(),
        )
    };
    let claims = format!(r#"{{"sub":"s","exp":{}}}"#, NOW + 60);
    let token = signed(r#"{"alg":"HS256"}"#, &claims, secret(3).as_bytes());
    assert!(outcome(&of(4), &token).is_ok());
    assert_eq!(outcome(&of(5), &token), Err(BadToken::Ambiguous));
    let mut named = of(32);
    for (number, key) in named.keys.iter_mut().enumerate() {
        key.id = Some(number.to_string());
    }
    assert_eq!(outcome(&named, &token), Err(BadToken::Ambiguous));
    let token = signed(
        r#"{"alg":"HS256","kid":"3"}"#,
        &claims,
        secret(3).as_bytes(),
    );
    assert!(outcome(&named, &token).is_ok());
}
