//! A service that is asked over HTTP whether a client may connect.
//!
//! It gets one POST for each client. What the client says stands in the body alone, as JSON or as a
//! form, encoded by rule: never in the URL, in a header or in the name of a field. Only two answers
//! let a client in, and everything else, no answer included, refuses it:
//!
//! | status | body | |
//! |---|---|---|
//! | 204 | | let in |
//! | 200 | `{"result": "allow"}`, perhaps with `"groups": ["…"]` and `"expires_at": SECONDS` | let in |
//! | 200 | `{"result": "deny"}` | refused |
//! | 401, 403 | not looked at | refused |
//! | other | not looked at | refused as unavailable; redirects are not followed |

use crate::basis;
use crate::config::{Config, HttpFormat, Problem};
use crate::pool::Pool;
use crate::secret;
use core::fmt;
use serde_json::{Map, Value, json};
use std::time::Duration;
use thiserror::Error;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use whimbrel_core::access::identity::Grant;
use whimbrel_core::action::Credentials;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::time::UnixTime;

/// How long a client may wait until it is asked about. With the time-out of the question it has to
/// be within the 10 s that a client has for CONNECT.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAXIMUM: u64 = 64 << 10;
/// Groups that an answer may name.
const GROUPS_MAXIMUM: usize = 64;

pub(crate) struct Service {
    pub(crate) pool: Pool,
    agent: ureq::Agent,
    url: String,
    format: HttpFormat,
    authorization: Option<String>,
}

/// Why a client is not let in.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    /// The service says so.
    #[error("the service refuses it")]
    Denied,
    /// What it has sent cannot be asked about.
    #[error("its password is not text, so the service cannot be asked about it")]
    NotText,
    /// The service did not answer, or not as it should.
    #[error("the service does not answer as it should: {0}")]
    Unavailable(String),
}

impl Service {
    /// What a grant of this service rests on.
    pub(crate) fn basis(&self) -> u64 {
        basis::of("service", &self.url)
    }

    /// Checks the configuration and starts the threads; `None` when no service is configured. The
    /// service itself is not asked yet: it may be started after the broker.
    pub(crate) fn prepare(
        config: &Config,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) -> Option<Self> {
        let mut problem = |key, message| problems.push(Problem { key, message });
        let Some(url) = &config.http_url else {
            for (key, value) in [
                ("http_ca_file", &config.http_ca_file),
                ("http_token_file", &config.http_token_file),
            ] {
                if value.is_some() {
                    let message =
                        "there is no service to ask; name it as http_url, or leave this out";
                    problem(key, message.to_owned());
                }
            }
            return None;
        };
        if let Err(why) = check_url(url) {
            problem("http_url", why);
            return None;
        }
        if is_plain_to_others(url) {
            warnings.push(Problem {
                key: "http_url",
                message:
                    "passwords are sent to another machine where others can read them; use https"
                        .to_owned(),
            });
        }
        let authorization = match &config.http_token_file {
            None => None,
            Some(path) => match secret::read(path).and_then(|token| header(path, &token.text)) {
                Ok(header) => Some(header),
                Err(why) => {
                    problem("http_token_file", why);
                    return None;
                }
            },
        };
        let roots = match &config.http_ca_file {
            None => RootCerts::WebPki,
            Some(path) => match read_authorities(path) {
                Ok(authorities) => RootCerts::new_with_certs(&authorities),
                Err(why) => {
                    problem("http_ca_file", why);
                    return None;
                }
            },
        };
        let queue = usize::from(config.http_queue_maximum);
        let pool = match Pool::start("whimbrel-http", config.http_connections, queue, PATIENCE) {
            Ok(pool) => pool,
            Err(error) => {
                problem(
                    "http_connections",
                    format!("the system gives no threads for it: {error}"),
                );
                return None;
            }
        };
        let connections = usize::from(config.http_connections);
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.http_timeout_ms.into())))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Not by way of what the environment of the broker happens to say.
            .proxy(None)
            .user_agent(concat!("whimbrel/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Some(Self {
            pool,
            agent,
            url: url.clone(),
            format: config.http_format,
            authorization,
        })
    }

    /// Asks, for as long as the time-out at most.
    pub(crate) fn ask(&self, credentials: &Credentials) -> Result<Grant, Refused> {
        let unavailable = |error: ureq::Error| Refused::Unavailable(error.to_string());
        let question = Question::about(credentials)?;
        let (kind, body) = match self.format {
            HttpFormat::Json => ("application/json", question.to_json()),
            HttpFormat::Form => ("application/x-www-form-urlencoded", question.to_form()),
        };
        let mut request = self.agent.post(&self.url).content_type(kind);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = request.send(body).map_err(unavailable)?;
        let user = question.username;
        match answer.status().as_u16() {
            204 => Ok(user.map_or_else(Grant::default, Grant::to)),
            200 => {
                let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAXIMUM);
                let body = body.read_to_vec().map_err(unavailable)?;
                granted(user, &body)
            }
            401 | 403 => Err(Refused::Denied),
            status => Err(Refused::Unavailable(format!("status {status}"))),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service {}", self.url)
    }
}

/// What the service is told about a client.
struct Question<'a> {
    username: Option<&'a str>,
    fields: Vec<(&'static str, &'a str)>,
    address: Option<String>,
}

impl<'a> Question<'a> {
    fn about(credentials: &'a Credentials) -> Result<Self, Refused> {
        let username = credentials.username.as_deref();
        let password = credentials.password.as_deref().unwrap_or_default();
        let password = core::str::from_utf8(password).map_err(|_| Refused::NotText)?;
        let version = match credentials.version {
            Version::V3 => "3.1",
            Version::V4 => "3.1.1",
            Version::V5 => "5.0",
        };
        let mut fields = vec![
            ("client_id", &*credentials.client_id),
            ("password", password),
            ("version", version),
        ];
        fields.extend(username.map(|name| ("username", name)));
        let certificate = credentials.peer.certificate.as_deref();
        let name = certificate.and_then(|certificate| certificate.common_name());
        fields.extend(name.map(|name| ("certificate_name", name)));
        Ok(Self {
            username,
            fields,
            address: credentials
                .peer
                .address
                .map(|address| address.ip().to_string()),
        })
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let address = self.address.as_deref().map(|address| ("address", address));
        self.fields.iter().copied().chain(address)
    }

    fn to_json(&self) -> String {
        let fields = self
            .all()
            .map(|(name, text)| (name.to_owned(), json!(text)));
        Value::Object(fields.collect::<Map<_, _>>()).to_string()
    }

    fn to_form(&self) -> String {
        let fields = self
            .all()
            .map(|(name, text)| format!("{name}={}", percent_encoded(text)));
        fields.collect::<Vec<_>>().join("&")
    }
}

/// Everything but letters, digits and `-._~` as `%XX`, so that nothing in it can end a field.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What the body of an answer grants.
fn granted(user: Option<&str>, body: &[u8]) -> Result<Grant, Refused> {
    let wrong = |what: &str| Refused::Unavailable(what.to_owned());
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| wrong("its answer is not JSON"))?;
    match answer.get("result").and_then(Value::as_str) {
        Some("allow") => {}
        Some("deny") => return Err(Refused::Denied),
        Some(_) | None => return Err(wrong("\"result\" is neither \"allow\" nor \"deny\"")),
    }
    let groups = match answer.get("groups") {
        None => Vec::new(),
        Some(groups) => {
            let groups = groups
                .as_array()
                .filter(|groups| groups.len() <= GROUPS_MAXIMUM);
            let groups = groups.ok_or_else(|| wrong("\"groups\" is no list of up to 64 names"))?;
            let names = groups.iter().map(|name| name.as_str().map(str::to_owned));
            names
                .collect::<Option<_>>()
                .ok_or_else(|| wrong("\"groups\" is no list of up to 64 names"))?
        }
    };
    let ends_at = match answer.get("expires_at") {
        None => None,
        Some(seconds) => {
            let seconds = seconds.as_u64();
            let seconds = seconds.ok_or_else(|| wrong("\"expires_at\" is no number of seconds"))?;
            Some(UnixTime(seconds.saturating_mul(1_000)))
        }
    };
    Ok(Grant {
        user: user.map(str::to_owned),
        groups,
        ends_at,
        ..Grant::default()
    })
}

fn check_url(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let rest =
        rest.ok_or_else(|| format!("\"{url}\" should begin with \"https://\" or \"http://\""))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("there is no place for a password in it; see http_token_file".to_owned());
    }
    if authority.is_empty() || url.parse::<ureq::http::Uri>().is_err() {
        return Err(format!("\"{url}\" is not a URL"));
    }
    Ok(())
}

fn is_plain_to_others(url: &str) -> bool {
    let Ok(uri) = url.parse::<ureq::http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: core::net::IpAddr| address.is_loopback());
    uri.scheme_str() == Some("http") && !is_here
}

/// The header that shows the service who asks.
fn header(path: &str, text: &str) -> Result<String, String> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{path}: is not one line with a token"));
    }
    Ok(format!("Bearer {token}"))
}

fn read_authorities(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let text = secret::read(path)?.text;
    let mut authorities = Vec::new();
    for item in parse_pem(text.as_bytes()) {
        match item {
            Ok(PemItem::Certificate(certificate)) => authorities.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("{path}: {error}")),
        }
    }
    if authorities.is_empty() {
        return Err(format!("{path}: there is no certificate in it"));
    }
    Ok(authorities)
}
