//! The keys of the section `authentication`.

use super::key::Key;
use super::value::Unit::{Milliseconds, Seconds};

pub(super) const AUTHENTICATION: &[Key] = &[
    Key::new(
        "password_file",
        |s| &mut s.authentication.password_file,
        "The password file, as `whimbrel passwd` and `mosquitto_passwd` write it. Relative to where \
         the broker is started.",
        "Nobody has a password.",
    )
    .live()
    .example("\"/etc/whimbrel/users.txt\""),
    Key::new(
        "password_threads",
        |s| &mut s.authentication.password_threads,
        "Threads that hash passwords. Each takes 19 MiB while it does, with hashes of `whimbrel passwd`.",
        "Other cores are left to clients that are in.",
    )
    .live()
    .range(1, 1_024),
    Key::new(
        "password_queue_maximum",
        |s| &mut s.authentication.password_queue_maximum,
        "Clients that wait until their password is hashed, at most. Others are refused with \"server \
         busy\".",
        "What two threads hash in the time that a client waits.",
    )
    .live()
    .least(1),
    Key::new(
        "password_cache_s",
        |s| &mut s.authentication.password_cache_s,
        "How long a password that was right is known, so that it is not hashed again; 0 is not at all. \
         A reload forgets all of them.",
        "Clients that come back at once after a short loss of network.",
    )
    .live()
    .unit(Seconds),
    Key::new(
        "password_cache_maximum",
        |s| &mut s.authentication.password_cache_maximum,
        "Passwords that are known at most; the oldest go first.",
        "About a megabyte.",
    )
    .live(),
    Key::new(
        "jwt_key_file",
        |s| &mut s.authentication.jwt_key_file,
        "The public key of whoever makes tokens, in PEM, or several as a JWKS: RSA (RS256), P-256 (ES256) \
         or Ed25519 (EdDSA). A token is sent as the password.",
        "There are no tokens.",
    )
    .live()
    .example("\"/etc/whimbrel/tokens.pem\""),
    Key::new(
        "jwt_secret_file",
        |s| &mut s.authentication.jwt_secret_file,
        "A secret that is shared with whoever makes tokens (HS256): all of the file but its last line \
         end, 32 bytes at least.",
        "There are no tokens.",
    )
    .live()
    .example("\"/etc/whimbrel/tokens.secret\""),
    Key::new(
        "jwt_issuer",
        |s| &mut s.authentication.jwt_issuer,
        "Who has to have made a token: the claim `iss`.",
        "Anybody with the key.",
    )
    .live()
    .example("\"https://id.example.org\""),
    Key::new(
        "jwt_audience",
        |s| &mut s.authentication.jwt_audience,
        "For whom a token has to be: the claim `aud`.",
        "A token that is for somebody in particular is refused.",
    )
    .live()
    .example("\"mqtt\""),
    Key::new(
        "jwt_leeway_s",
        |s| &mut s.authentication.jwt_leeway_s,
        "How far the clocks of this machine and of whoever makes tokens may be apart.",
        "Machines that set their clocks by the network differ less.",
    )
    .live()
    .unit(Seconds)
    .range(0, 3_600),
    Key::new(
        "jwt_user_claim",
        |s| &mut s.authentication.jwt_user_claim,
        "The claim that names the user.",
        "The subject of the token.",
    )
    .live(),
    Key::new(
        "jwt_client_id_claim",
        |s| &mut s.authentication.jwt_client_id_claim,
        "The claim that the client identifier has to be equal to.",
        "Clients choose their identifiers.",
    )
    .live()
    .example("\"client_id\""),
    Key::new(
        "jwt_groups_claim",
        |s| &mut s.authentication.jwt_groups_claim,
        "The claim that lists the groups of the user.",
        "Tokens name no groups.",
    )
    .live()
    .example("\"groups\""),
    Key::new(
        "jwt_rules_claim",
        |s| &mut s.authentication.jwt_rules_claim,
        "The claim that lists access rules, which are asked before those of the broker.",
        "Tokens bring no rules.",
    )
    .live()
    .example("\"rules\""),
    Key::new(
        "jwt_tenant_claim",
        |s| &mut s.authentication.jwt_tenant_claim,
        "The claim that names the tenant; a token without it is refused.",
        "Tokens name no tenant.",
    )
    .live()
    .example("\"org\""),
    Key::new(
        "http_url",
        |s| &mut s.authentication.http_url,
        "The service that is asked about clients whose user is not in the password file.",
        "There is no service.",
    )
    .live()
    .example("\"https://id.example.org/mqtt\""),
    Key::new(
        "http_format",
        |s| &mut s.authentication.http_format,
        "What the service is sent: a JSON object, or the fields of a form.",
        "Most services take it.",
    )
    .live(),
    Key::new(
        "http_timeout_ms",
        |s| &mut s.authentication.http_timeout_ms,
        "How long the service may take for an answer. A client whose answer does not come is refused.",
        "With the time in the queue it is within the 10 s that a client has.",
    )
    .live()
    .unit(Milliseconds)
    .range(1, 60_000),
    Key::new(
        "http_connections",
        |s| &mut s.authentication.http_connections,
        "Questions that the service is asked at once, at most.",
        "Some hundred clients a second, when an answer takes 20 ms.",
    )
    .live()
    .range(1, 1_024),
    Key::new(
        "http_queue_maximum",
        |s| &mut s.authentication.http_queue_maximum,
        "Clients that wait until the service is asked about them, at most. Others are refused with \
         \"server busy\".",
        "What eight connections ask in the time that a client waits.",
    )
    .live()
    .least(1),
    Key::new(
        "http_ca_file",
        |s| &mut s.authentication.http_ca_file,
        "Certificates, in PEM, of the authorities that the service's own may come from.",
        "Those that browsers trust.",
    )
    .live()
    .example("\"/etc/whimbrel/service-ca.pem\""),
    Key::new(
        "http_token_file",
        |s| &mut s.authentication.http_token_file,
        "A file with a token that shows the service who asks: `Authorization: Bearer …`.",
        "The service asks for none.",
    )
    .live()
    .example("\"/etc/whimbrel/service.token\""),
];
