//! How a WebSocket connection begins: one HTTP request, and one response.

use crate::layers::Fault;
use crate::proxy::Source;
use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use whimbrel_core::runtime::Network;

/// The head of a request or response is at most this long, and has at most so many headers: enough
/// for the cookies of a browser.
const HEAD_BYTES_MAXIMUM: usize = 8 << 10;
const HEADERS_MAXIMUM: usize = 64;

/// The sub-protocols of MQTT: today's name, and that of clients from before the standard.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Which requests a listener likes.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// What is asked for, with its query.
    pub(crate) path: String,
    /// Web pages of these origins may connect; empty for all. Clients other than browsers name none
    /// and are not kept out.
    pub(crate) origins: Vec<String>,
    /// Proxies that are believed what `X-Forwarded-For` says.
    pub(crate) forwarded_for_from: Vec<Network>,
}

/// Waits for a request.
pub(crate) struct Accept {
    rules: Arc<Rules>,
    peer: Option<IpAddr>,
    head: Vec<u8>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest(&'static str),
    Forbidden,
    NotFound,
    TooLarge,
    Upgrade(&'static str),
}

impl Refusal {
    fn response(self) -> String {
        let (status, more) = match self {
            Self::BadRequest(_) => ("400 Bad Request", ""),
            Self::Forbidden => ("403 Forbidden", ""),
            Self::NotFound => ("404 Not Found", ""),
            Self::TooLarge => ("431 Request Header Fields Too Large", ""),
            Self::Upgrade(_) => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
        };
        format!("HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Length: 0\r\n\r\n")
    }
}

/// Who speaks something else would wait for an answer, while its request is waited for.
const fn other_protocol(first_byte: u8) -> Option<Refusal> {
    match first_byte {
        0x10 => Some(Refusal::BadRequest("its client speaks MQTT without it")),
        0x16 => Some(Refusal::BadRequest(
            "its client speaks TLS, and this listener does not",
        )),
        _ => None,
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::WebSocket(match refusal {
            Refusal::BadRequest(why) | Refusal::Upgrade(why) => why,
            Refusal::Forbidden => "the origin is not allowed",
            Refusal::NotFound => "the path is another one",
            Refusal::TooLarge => "the request is too long",
        })
    }
}

impl Accept {
    /// For a connection from `peer`, if it has an address.
    pub(crate) const fn new(rules: Arc<Rules>, peer: Option<IpAddr>) -> Self {
        Self {
            rules,
            peer,
            head: Vec::new(),
        }
    }

    /// Where the request comes from, which a PROXY header may tell later.
    pub(crate) const fn set_peer(&mut self, peer: Option<IpAddr>) {
        self.peer = peer;
    }

    /// Takes bytes up to the end of the head; how many. Once it is complete, the response is in
    /// `answers`, and whose request it is is given.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
    ) -> Result<(usize, Option<Source>), Fault> {
        let Some(used) = take_head(&mut self.head, bytes) else {
            answers.extend_from_slice(Refusal::TooLarge.response().as_bytes());
            return Err(Refusal::TooLarge.into());
        };
        if let Some(refusal) = self.head.first().and_then(|first| other_protocol(*first)) {
            answers.extend_from_slice(refusal.response().as_bytes());
            return Err(refusal.into());
        }
        if !is_complete(&self.head) {
            return Ok((used, None));
        }
        let head = core::mem::take(&mut self.head);
        match self.answer(&head) {
            Ok((response, source)) => {
                answers.extend_from_slice(response.as_bytes());
                Ok((used, Some(source)))
            }
            Err(refusal) => {
                answers.extend_from_slice(refusal.response().as_bytes());
                Err(refusal.into())
            }
        }
    }

    fn answer(&self, head: &[u8]) -> Result<(String, Source), Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAXIMUM];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(head).map_err(|error| {
            if error == httparse::Error::TooManyHeaders {
                Refusal::TooLarge
            } else {
                Refusal::BadRequest("the request is not HTTP")
            }
        })?;
        let headers = Headers(request.headers);
        if request.method != Some("GET") || request.version != Some(1) {
            return Err(Refusal::BadRequest("the request is not GET of HTTP/1.1"));
        }
        if !headers.has("upgrade", "websocket") || !headers.has("connection", "upgrade") {
            return Err(Refusal::Upgrade("the request asks for no WebSocket"));
        }
        if headers.only("sec-websocket-version")? != Some("13") {
            return Err(Refusal::Upgrade("the version of WebSocket is not 13"));
        }
        if request.path != Some(&self.rules.path) {
            return Err(Refusal::NotFound);
        }
        let origin = headers.only("origin")?;
        let origins = &self.rules.origins;
        let is_allowed = |origin: &str| origins.iter().any(|o| o.eq_ignore_ascii_case(origin));
        if !origins.is_empty() && !origin.is_none_or(is_allowed) {
            return Err(Refusal::Forbidden);
        }
        let key = headers.only("sec-websocket-key")?;
        let key = key
            .filter(|key| key.len() == 24 && key.ends_with("=="))
            .ok_or(Refusal::BadRequest("the key of the handshake is none"))?;
        // The server selects one that the client offers. [MQTT-6.0.0-4]
        let protocol = headers
            .tokens("sec-websocket-protocol")
            .find(|offered| PROTOCOLS.contains(offered))
            .ok_or(Refusal::BadRequest("no sub-protocol \"mqtt\" is offered"))?;
        let accept = derive_accept_key(key.as_bytes());
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        Ok((response, self.source(&headers)?))
    }

    /// Whose request it is: of a chain that trusted proxies have told, the last that is not one of
    /// them, or else the first. A listed proxy that tells nobody has a client that is not known,
    /// and is never the client itself.
    fn source(&self, headers: &Headers<'_>) -> Result<Source, Refusal> {
        let trusted = |address: IpAddr| {
            let networks = &self.rules.forwarded_for_from;
            networks.iter().any(|network| network.contains(address))
        };
        let Some(proxy) = self.peer.filter(|peer| trusted(*peer)) else {
            return Ok(Source::Proxy);
        };
        let mut chain = Vec::new();
        for value in headers.values("x-forwarded-for") {
            let value = value.ok_or(Refusal::BadRequest("X-Forwarded-For is no text"))?;
            chain.extend(value.split(','));
        }
        let mut client = None;
        for text in chain.into_iter().rev() {
            let told_by = client.unwrap_or(proxy);
            let address = address(text.trim()).ok_or(Refusal::BadRequest(
                "X-Forwarded-For has something that is no address",
            ))?;
            let address = address.to_canonical();
            if address.is_loopback() && !told_by.is_loopback() {
                // It is on the machine of whoever says so, and that is not this one.
                client = Some(told_by);
                break;
            }
            client = Some(address);
            if !trusted(address) {
                break;
            }
        }
        // The port that it had there is not told.
        Ok(client.map_or(Source::Unknown, |client| {
            Source::Address((client, 0).into())
        }))
    }
}

/// With or without a port; IPv6 perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    bare.parse().ok().or_else(with_port)
}

/// Asks for a connection.
pub(crate) struct Dial {
    request: String,
    /// What the server has to answer the key with.
    accept: String,
    head: Vec<u8>,
}

impl Dial {
    /// `host` as it stands in a URL, with the port.
    pub(crate) fn new(host: &str, path: &str) -> Self {
        let key = generate_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        Self {
            request,
            accept: derive_accept_key(key.as_bytes()),
            head: Vec::new(),
        }
    }

    pub(super) fn request(&self) -> &str {
        &self.request
    }

    /// Takes bytes up to the end of the head: how many, and whether that is complete.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let used = take_head(&mut self.head, bytes)
            .ok_or(Fault::WebSocket("the server's response is too long"))?;
        if !is_complete(&self.head) {
            return Ok((used, false));
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAXIMUM];
        let mut response = httparse::Response::new(&mut headers);
        response
            .parse(&self.head)
            .map_err(|_| Fault::WebSocket("the server does not speak HTTP"))?;
        if let Some(code) = response.code.filter(|code| *code != 101) {
            return Err(Fault::Http(code));
        }
        let headers = Headers(response.headers);
        let only = |name| headers.only(name).ok().flatten();
        let is_websocket = headers.has("upgrade", "websocket")
            && headers.has("connection", "upgrade")
            && only("sec-websocket-accept") == Some(&self.accept);
        if !is_websocket {
            return Err(Fault::WebSocket("the server does not speak WebSocket"));
        }
        if only("sec-websocket-protocol") != Some("mqtt") {
            return Err(Fault::WebSocket("the server does not speak MQTT here"));
        }
        Ok((used, true))
    }
}

/// The headers of a request or response.
struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of one name; `None` for one that is no text.
    fn values(&self, name: &'static str) -> impl Iterator<Item = Option<&'a str>> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| core::str::from_utf8(header.value).ok().map(str::trim))
    }

    /// The value of a header that must not be there twice.
    fn only(&self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(Some(value)), None) => Ok(Some(value)),
            (Some(None), None) => Err(Refusal::BadRequest("a header is no text")),
            (Some(_), Some(_)) => Err(Refusal::BadRequest("a header is there twice")),
        }
    }

    /// The elements of a list.
    fn tokens(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.values(name)
            .flat_map(|value| value.unwrap_or_default().split(','))
            .map(str::trim)
            .filter(|token| !token.is_empty())
    }

    fn has(&self, name: &'static str, token: &str) -> bool {
        self.tokens(name)
            .any(|found| found.eq_ignore_ascii_case(token))
    }
}

/// Moves bytes into `head`, up to its end: how many. `None` when it is too long.
fn take_head(head: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    // The end may have begun in what is there.
    let begin = head.len().saturating_sub(END.len() - 1);
    let before = head.len();
    let most = HEAD_BYTES_MAXIMUM.saturating_sub(before);
    head.extend_from_slice(&bytes[..bytes.len().min(most)]);
    match head[begin..]
        .windows(END.len())
        .position(|part| part == END)
    {
        Some(at) => {
            head.truncate(begin + at + END.len());
            Some(head.len() - before)
        }
        None if bytes.len() >= most => None,
        None => Some(bytes.len()),
    }
}

fn is_complete(head: &[u8]) -> bool {
    head.ends_with(END)
}

/// What ends a head.
const END: &[u8] = b"\r\n\r\n";
