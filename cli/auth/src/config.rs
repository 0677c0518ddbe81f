//! What an operator sets about who may connect: plain data, each default with its reason.

use core::fmt;

/// Who is asked about credentials. By default nobody: then a user name is worth no more than none,
/// and what a listener says about anonymous clients holds for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The password file. Default: none.
    pub password_file: Option<String>,
    /// Threads that hash passwords. Default 2: with argon2id as this program makes it, two at a
    /// time take 38 MiB, and other cores are left to clients that are in.
    pub password_threads: u16,
    /// Clients that wait for their password to be hashed, at most; others are refused with "server
    /// busy". Default 512: what two threads hash in the time a client waits.
    pub password_queue_maximum: u16,
    /// How long a password that was verified is known, in seconds, so that a client that comes back
    /// costs no hash; 0 is not at all. Default 60 s: clients that come back at once after a short
    /// loss of network. A reload forgets all.
    pub password_cache_s: u32,
    /// Passwords that are known at most. Default 10,000: about a megabyte.
    pub password_cache_maximum: u32,
    /// A file with the public keys of whoever makes tokens: one in PEM, or a JWKS. Default: none.
    pub jwt_key_file: Option<String>,
    /// A file with the secret that is shared with whoever makes tokens (HS256). Default: none.
    pub jwt_secret_file: Option<String>,
    /// Who has to have made a token (`iss`). Default: anybody with the key.
    pub jwt_issuer: Option<String>,
    /// For whom a token has to be (`aud`). Default: for nobody in particular; a token that names an
    /// audience is refused then.
    pub jwt_audience: Option<String>,
    /// How far clocks may be apart, in seconds. Default 30 s: more than machines that set their
    /// clocks by the network differ.
    pub jwt_leeway_s: u16,
    /// The claim that names the user. Default `sub`: the subject of the token.
    pub jwt_user_claim: String,
    /// The claim that has to name the client identifier. Default: none; clients choose theirs.
    pub jwt_client_id_claim: Option<String>,
    /// The claim that lists the groups of the user. Default: none.
    pub jwt_groups_claim: Option<String>,
    /// The claim that lists access rules of its own, which are asked before the broker's. Default:
    /// none.
    pub jwt_rules_claim: Option<String>,
    /// The claim that names the tenant. Default: none; see
    /// [`TenantSource`](whimbrel_core::runtime::TenantSource).
    pub jwt_tenant_claim: Option<String>,
    /// The service that is asked about clients whose user is not in the password file. Default:
    /// none.
    pub http_url: Option<String>,
    /// How the service is asked. Default: JSON.
    pub http_format: HttpFormat,
    /// How long the service may take to answer, in milliseconds. Default 3 s: with the time in the
    /// queue it is within the 10 s a client has.
    pub http_timeout_ms: u32,
    /// Questions that are asked at once, at most, each on a connection that is kept. Default 8:
    /// some hundred clients a second when an answer takes 20 ms.
    pub http_connections: u16,
    /// Clients that wait to be asked about, at most; others are refused with "server busy".
    /// Default 1,024: what eight connections ask in the time a client waits.
    pub http_queue_maximum: u16,
    /// Certificates of the authorities that the service's certificate may come from, in PEM.
    /// Default: those that browsers trust.
    pub http_ca_file: Option<String>,
    /// A file with a token that shows the service who asks (`Authorization: Bearer …`). Default:
    /// none.
    pub http_token_file: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            password_file: None,
            password_threads: 2,
            password_queue_maximum: 512,
            password_cache_s: 60,
            password_cache_maximum: 10_000,
            jwt_key_file: None,
            jwt_secret_file: None,
            jwt_issuer: None,
            jwt_audience: None,
            jwt_leeway_s: 30,
            jwt_user_claim: "sub".to_owned(),
            jwt_client_id_claim: None,
            jwt_groups_claim: None,
            jwt_rules_claim: None,
            jwt_tenant_claim: None,
            http_url: None,
            http_format: HttpFormat::default(),
            http_timeout_ms: 3_000,
            http_connections: 8,
            http_queue_maximum: 1_024,
            http_ca_file: None,
            http_token_file: None,
        }
    }
}

/// How a service is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpFormat {
    /// A JSON object.
    #[default]
    Json,
    /// The fields of a form.
    Form,
}

/// What is wrong with a [`Config`], or with a file that it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The field.
    pub key: &'static str,
    /// What is wrong and what to do, without a full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authentication.{}: {}", self.key, self.message)
    }
}
