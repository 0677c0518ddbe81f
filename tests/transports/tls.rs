//! TLS: versions, names, client certificates, revocation, resumption, reload, dates.

use crate::broker::{Broker, CONNECT, PING, at, exchange, is_let_in, last_words};
use crate::class_13_websocket;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion, crypto, version,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use whimbrel_core::UnixTime;
use whimbrel_tests::authority::{Authority, Pair};
use whimbrel_tokio::{
    CertificateFinding, ClientCertificate, ListenerConfig, TlsVersion, check_certificates,
};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A listener of this scheme with a certificate for `localhost`.
pub(crate) fn listener(authority: &Authority, scheme: &str) -> ListenerConfig {
    with_pair(scheme, &authority.server("server", &["localhost"]))
}

fn with_pair(scheme: &str, pair: &Pair) -> ListenerConfig {
    ListenerConfig {
        certificate: vec![pair.certificate.clone()],
        key: vec![pair.key.clone()],
        ..at(&format!("{scheme}://127.0.0.1:0"))
    }
}

/// How a client connects.
pub(crate) struct Dial {
    authority: String,
    versions: Vec<&'static SupportedProtocolVersion>,
    name: &'static str,
    protocols: Vec<Vec<u8>>,
    pair: Option<Pair>,
}

impl Dial {
    pub(crate) fn of(authority: &Authority) -> Self {
        Self {
            authority: authority.file(),
            versions: vec![&version::TLS12, &version::TLS13],
            name: "localhost",
            protocols: Vec::new(),
            pair: None,
        }
    }

    pub(crate) fn showing(self, pair: &Pair) -> Self {
        Self {
            pair: Some(pair.clone()),
            ..self
        }
    }

    pub(crate) fn offering(self, protocols: &[&[u8]]) -> Self {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self { protocols, ..self }
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.authority).unwrap())
            .unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()];
                let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.clone();
        Arc::new(config)
    }

    fn open_with(&self, config: Arc<ClientConfig>, broker: &Broker) -> Stream {
        self.over_with(config, broker.dial())
    }

    fn over_with(&self, config: Arc<ClientConfig>, socket: TcpStream) -> Stream {
        let name = self.name.try_into().unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        StreamOwned::new(connection, socket)
    }

    /// Over a socket on which something was said before.
    pub(crate) fn over(&self, socket: TcpStream) -> Stream {
        self.over_with(self.config(), socket)
    }

    pub(crate) fn open(&self, broker: &Broker) -> Stream {
        self.open_with(self.config(), broker)
    }

    /// Cannot exchange anything.
    fn is_refused(&self, broker: &Broker) {
        let mut stream = self.open(broker);
        let refused = stream
            .write_all(CONNECT)
            .and_then(|()| stream.read_exact(&mut [0; 4]));
        assert!(refused.is_err());
        broker.had_no_guest();
    }
}

#[test]
fn both_versions_are_spoken_and_either_may_be_left_out() {
    let authority = Authority::new("versions");
    let both = listener(&authority, "tls");
    for (offered, spoken) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let dial = Dial {
            versions: vec![offered],
            ..Dial::of(&authority)
        };
        let broker = Broker::start(vec![both.clone()]);
        let mut stream = dial.open(&broker);
        is_let_in(&mut stream);
        exchange(&mut stream, PING.0, PING.1);
        assert_eq!(stream.conn.protocol_version(), Some(spoken));
        broker.guest();

        let only_other = match spoken {
            ProtocolVersion::TLSv1_2 => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        };
        let other = ListenerConfig {
            tls_versions: vec![only_other],
            ..both.clone()
        };
        dial.is_refused(&Broker::start(vec![other]));
    }
}

/// Larger than a record, in both directions, and a packet split over records.
#[test]
fn large_messages_pass() {
    let authority = Authority::new("large");
    let broker = Broker::start(vec![listener(&authority, "tls")]);
    let mut stream = Dial::of(&authority).open(&broker);
    is_let_in(&mut stream);
    exchange(&mut stream, b"\x82\x06\0\x01\0\x01t\0", b"\x90\x03\0\x01\0");
    let payload: Vec<u8> = (0..500_000_u32).map(|number| number as u8).collect();
    let mut publish = b"\x30\xA3\xC2\x1E\0\x01t".to_vec();
    publish.extend(&payload);
    assert_eq!(publish.len(), 4 + 500_003);
    exchange(&mut stream, &publish, &publish);
    for byte in PING.0 {
        stream.write_all(&[*byte]).unwrap();
        stream.flush().unwrap();
    }
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(pong, PING.1);
}

#[test]
fn the_name_a_client_asks_for_chooses_the_certificate() {
    let authority = Authority::new("names");
    let pairs = [
        authority.server("first", &["localhost"]),
        authority.server("second", &["*.example.org"]),
    ];
    let listener = ListenerConfig {
        certificate: pairs.iter().map(|pair| pair.certificate.clone()).collect(),
        key: pairs.iter().map(|pair| pair.key.clone()).collect(),
        ..at("tls://127.0.0.1:0")
    };
    let broker = Broker::start(vec![listener]);
    for (name, pair) in [("localhost", &pairs[0]), ("a.example.org", &pairs[1])] {
        let dial = Dial {
            name,
            ..Dial::of(&authority)
        };
        let mut stream = dial.open(&broker);
        is_let_in(&mut stream);
        let shown = &stream.conn.peer_certificates().unwrap()[0];
        assert_eq!(
            *shown,
            CertificateDer::from_pem_file(&pair.certificate).unwrap()
        );
    }
    let unknown = Dial {
        name: "elsewhere.org",
        ..Dial::of(&authority)
    };
    for _ in 0..2 {
        broker.guest();
    }
    unknown.is_refused(&broker);
}

/// Also over WebSocket, where it was once forgotten elsewhere (CVE of 2018, see the class list).
#[test]
fn a_client_certificate_is_required_on_every_encrypted_transport() {
    let authority = Authority::new("required");
    let stranger = Authority::new("stranger");
    for scheme in ["tls", "wss"] {
        let listener = ListenerConfig {
            client_ca: vec![authority.file()],
            ..listener(&authority, scheme)
        };
        let broker = Broker::start(vec![listener]);
        Dial::of(&authority).is_refused(&broker);
        let other = stranger.client("other", "other", "other");
        Dial::of(&authority).showing(&other).is_refused(&broker);
    }
}

#[test]
fn what_a_certificate_says_is_known_before_connect() {
    let authority = Authority::new("facts");
    let pair = authority.client("device", "device 7", "Meadow");
    for optional in [false, true] {
        let listener = ListenerConfig {
            client_ca: vec![authority.file()],
            client_certificate: if optional {
                ClientCertificate::Optional
            } else {
                ClientCertificate::Required
            },
            ..listener(&authority, "tls")
        };
        let broker = Broker::start(vec![listener]);
        is_let_in(&mut Dial::of(&authority).showing(&pair).open(&broker));
        let certificate = broker.guest().certificate.expect("it has shown one");
        assert_eq!(certificate.common_name(), Some("device 7"));
        assert_eq!(certificate.organization(), Some("Meadow"));
        if optional {
            is_let_in(&mut Dial::of(&authority).open(&broker));
            assert_eq!(broker.guest().certificate, None);
        }
    }
}

#[test]
fn class_06_names_with_control_characters_are_not_believed() {
    let authority = Authority::new("control");
    let pair = authority.client("forger", "admin\nuser: root", "Meadow");
    let listener = ListenerConfig {
        client_ca: vec![authority.file()],
        ..listener(&authority, "tls")
    };
    let broker = Broker::start(vec![listener]);
    Dial::of(&authority).showing(&pair).is_refused(&broker);
}

/// Where certificates are checked for revocation, nobody is let in by an earlier check.
#[test]
fn no_session_is_resumed_where_certificates_may_be_revoked() {
    let authority = Authority::new("never-resumed");
    let pair = authority.client("device", "device", "Meadow");
    let listener = ListenerConfig {
        client_ca: vec![authority.file()],
        crl: vec![authority.revoke(&[])],
        ..listener(&authority, "tls")
    };
    let broker = Broker::start(vec![listener]);
    for versions in [vec![&version::TLS12], vec![&version::TLS13]] {
        let dial = Dial {
            versions,
            ..Dial::of(&authority).showing(&pair)
        };
        let config = dial.config();
        for _ in 0..3 {
            let mut stream = dial.open_with(Arc::clone(&config), &broker);
            is_let_in(&mut stream);
            exchange(&mut stream, PING.0, PING.1);
            assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn revoked_certificates_are_refused_over_websocket_too() {
    let authority = Authority::new("revoked-wss");
    let [good, bad] = ["good", "bad"].map(|name| authority.client(name, name, "Meadow"));
    let broker = Broker::start(vec![ListenerConfig {
        client_ca: vec![authority.file()],
        crl: vec![authority.revoke(&[&bad])],
        ..listener(&authority, "wss")
    }]);
    Dial::of(&authority).showing(&bad).is_refused(&broker);
    let mut stream = Dial::of(&authority).showing(&good).open(&broker);
    let (sent, answer) = class_13_websocket::opening();
    exchange(&mut stream, sent.as_bytes(), answer.as_bytes());
}

#[test]
fn revoked_certificates_are_refused_also_in_resumed_sessions() {
    let authority = Authority::new("revoked");
    let good = authority.client("good", "good", "Meadow");
    let bad = authority.client("bad", "bad", "Meadow");
    let before = ListenerConfig {
        client_ca: vec![authority.file()],
        ..listener(&authority, "tls")
    };
    let broker = Broker::start(vec![before.clone()]);
    let dial = Dial::of(&authority).showing(&bad);
    let config = dial.config();
    is_let_in(&mut dial.open_with(Arc::clone(&config), &broker));
    broker.guest();
    let after = ListenerConfig {
        crl: vec![authority.revoke(&[&bad])],
        ..before
    };
    broker.handle.read_certificates(&[after]).unwrap().apply();
    let mut again = dial.open_with(config, &broker);
    let refused = again
        .write_all(CONNECT)
        .and_then(|()| again.read_exact(&mut [0; 4]));
    assert!(refused.is_err());
    broker.had_no_guest();
    is_let_in(&mut Dial::of(&authority).showing(&good).open(&broker));
}

/// Class 7: a certificate that is taken back, or whose authority is believed no longer, is worth
/// nothing from the next reload on, also to who is connected; and others stay.
#[test]
fn class_07_a_certificate_that_is_taken_back_loses_its_connection() {
    for (scheme, version) in [("tls", &version::TLS12), ("tls", &version::TLS13)] {
        let authority = Authority::new("revoked-live");
        let [good, bad] = ["good", "bad"].map(|name| authority.client(name, name, "Meadow"));
        let before = ListenerConfig {
            client_ca: vec![authority.file()],
            ..listener(&authority, scheme)
        };
        let broker = Broker::start(vec![before.clone()]);
        let dial = |pair| Dial {
            versions: vec![version],
            ..Dial::of(&authority).showing(pair)
        };
        let mut stays = dial(&good).open(&broker);
        is_let_in(&mut stays);
        let mut goes = dial(&bad).open(&broker);
        is_let_in(&mut goes);
        // Its handshake is done before the list is read, and its CONNECT comes after.
        let mut late = dial(&bad).open(&broker);
        late.conn.complete_io(&mut late.sock).unwrap();
        broker.had_guests(2);

        assert_eq!(broker.reload(&before), 0, "nothing has changed");
        let lists = ListenerConfig {
            crl: vec![authority.revoke(&[&bad])],
            ..before.clone()
        };
        assert_eq!(broker.reload(&lists), 1);
        assert_eq!(last_words(&mut goes), b"");
        late.write_all(CONNECT).unwrap();
        assert_eq!(last_words(&mut late), b"\x20\x02\0\x05", "not authorized");
        exchange(&mut stays, PING.0, PING.1);

        let other = Authority::new("revoked-other");
        let elsewhere = ListenerConfig {
            client_ca: vec![other.file()],
            ..before
        };
        assert_eq!(broker.reload(&elsewhere), 1);
        assert_eq!(last_words(&mut stays), b"");
    }
}

#[test]
fn sessions_are_resumed_with_their_certificate() {
    let authority = Authority::new("resumed");
    let pair = authority.client("device", "device", "Meadow");
    let listener = ListenerConfig {
        client_ca: vec![authority.file()],
        ..listener(&authority, "tls")
    };
    let broker = Broker::start(vec![listener]);
    for versions in [vec![&version::TLS12], vec![&version::TLS13]] {
        let dial = Dial {
            versions,
            ..Dial::of(&authority).showing(&pair)
        };
        let config = dial.config();
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = dial.open_with(Arc::clone(&config), &broker);
            is_let_in(&mut stream);
            // Tickets of 1.3 come after the handshake.
            exchange(&mut stream, PING.0, PING.1);
            assert_eq!(stream.conn.handshake_kind(), Some(kind));
            let certificate = broker.guest().certificate.expect("it is remembered");
            assert_eq!(certificate.common_name(), Some("device"));
        }
    }
}

#[test]
fn the_protocol_is_mqtt_or_not_named() {
    let authority = Authority::new("protocol");
    let broker = Broker::start(vec![listener(&authority, "tls")]);
    let offering = |protocol| Dial::of(&authority).offering(&[protocol]);
    let mut stream = offering(b"mqtt").open(&broker);
    is_let_in(&mut stream);
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"mqtt"[..]));
    broker.guest();
    offering(b"h2").is_refused(&broker);
    offering(b"http/1.1").is_refused(&broker);
}

/// Every browser offers HTTP, and goes away when none of what it offers is chosen.
#[test]
fn over_websocket_the_protocol_is_http_as_browsers_say_or_mqtt() {
    let authority = Authority::new("protocol-wss");
    let broker = Broker::start(vec![listener(&authority, "wss")]);
    for (offered, chosen) in [
        (&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])),
        (&[b"h2", b"http/1.1"], Some(b"http/1.1")),
        (&[b"mqtt"], Some(b"mqtt")),
        (&[], None),
    ] {
        let mut stream = Dial::of(&authority).offering(offered).open(&broker);
        let (sent, answer) = class_13_websocket::opening();
        exchange(&mut stream, sent.as_bytes(), answer.as_bytes());
        assert_eq!(stream.conn.alpn_protocol(), chosen);
    }
    Dial::of(&authority).offering(&[b"h2"]).is_refused(&broker);
}

#[test]
fn certificates_are_replaced_while_clients_stay() {
    let authority = Authority::new("reload");
    let config = listener(&authority, "tls");
    let broker = Broker::start(vec![config.clone()]);
    let mut early = Dial::of(&authority).open(&broker);
    is_let_in(&mut early);

    // The same files, with something else in them.
    let pair = authority.server("server", &["localhost", "renewed.example.org"]);
    let config = std::slice::from_ref(&config);
    broker.handle.read_certificates(config).unwrap().apply();
    let mut late = Dial::of(&authority).open(&broker);
    is_let_in(&mut late);
    let shown = &late.conn.peer_certificates().unwrap()[0];
    assert_eq!(
        *shown,
        CertificateDer::from_pem_file(&pair.certificate).unwrap()
    );
    exchange(&mut early, PING.0, PING.1);

    // What does not fit changes nothing.
    authority.write("server.key", "nonsense");
    let errors = broker.handle.read_certificates(config).err().unwrap();
    assert!(
        errors[0].to_string().contains("has no private key"),
        "{errors:?}"
    );
    is_let_in(&mut Dial::of(&authority).open(&broker));
    exchange(&mut early, PING.0, PING.1);
}

#[test]
fn a_truncated_connection_is_only_an_end() {
    let authority = Authority::new("truncated");
    let broker = Broker::start(vec![listener(&authority, "tls")]);
    let mut stream = Dial::of(&authority).open(&broker);
    is_let_in(&mut stream);
    // Without close_notify.
    drop(stream);
    is_let_in(&mut Dial::of(&authority).open(&broker));
}

/// What breaks the rules after the handshake is told so, and the broker stays.
#[test]
fn a_broken_record_ends_its_connection_alone() {
    let authority = Authority::new("broken");
    let broker = Broker::start(vec![listener(&authority, "tls")]);
    let mut bystander = Dial::of(&authority).open(&broker);
    is_let_in(&mut bystander);
    for record in [
        &b"\x17\x03\x03\0\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[..],
        b"\x17\x03\x03\xFF\xFF",
        b"\x16\x03\x03\0\x04\x01\0\0\0",
        b"\x15\x03\x03\0\x02\x02\x0A",
        b"\x10\x0c\0\x04MQTT",
    ] {
        let mut stream = Dial::of(&authority).open(&broker);
        is_let_in(&mut stream);
        // Twice, and a half, as what follows a failure must not be looked at.
        let bytes = [record, record, &record[..record.len() / 2]].concat();
        stream.sock.write_all(&bytes).unwrap();
        let mut words = Vec::new();
        assert!(stream.read_to_end(&mut words).is_err() || words.is_empty());
        exchange(&mut bystander, PING.0, PING.1);
    }
}

/// 2026-06-01.
const TODAY: UnixTime = UnixTime(1_780_272_000_000);

fn findings(listener: &ListenerConfig) -> Vec<String> {
    let findings = check_certificates(listener, TODAY);
    let text = |finding: &CertificateFinding| match finding {
        CertificateFinding::Unusable(error) => format!("unusable: {}: {error}", error.key),
        CertificateFinding::Error(error) => format!("error: {error}"),
        CertificateFinding::Warning(error) => format!("warning: {error}"),
    };
    findings.iter().map(text).collect()
}

#[test]
fn a_check_finds_what_is_wrong_with_certificates() {
    let authority = Authority::new("check");
    let good = authority.server_in("good", &["localhost"], (2025, 2030));
    let other = authority.server_in("other", &["localhost"], (2025, 2030));
    let expired = authority.server_in("expired", &["localhost"], (2020, 2026));
    let early = authority.server_in("early", &["localhost"], (2028, 2030));
    let empty = authority.write("empty.pem", "");
    assert_eq!(findings(&with_pair("tls", &good)), [""; 0]);
    assert_eq!(findings(&at("tcp://127.0.0.1:0")), [""; 0]);

    let mismatched = Pair {
        key: other.key.clone(),
        ..good.clone()
    };
    let missing = Pair {
        key: authority.path("nowhere"),
        ..good.clone()
    };
    let no_certificate = Pair {
        certificate: empty.clone(),
        ..good.clone()
    };
    let mut two_and_one = with_pair("tls", &good);
    two_and_one.certificate.push(other.certificate);
    let mut no_authority = with_pair("tls", &good);
    no_authority.client_ca = vec![empty.clone()];
    let mut no_list = with_pair("tls", &good);
    no_list.client_ca = vec![authority.file()];
    no_list.crl = vec![empty];
    let mut list_of_nobody = with_pair("tls", &good);
    list_of_nobody.crl = vec![authority.revoke(&[])];
    // Its name is the same, and it has taken back nothing that this one has given.
    let mut list_of_others = with_pair("tls", &good);
    list_of_others.client_ca = vec![authority.file()];
    let others = Authority::new("check-other");
    list_of_others.crl = vec![others.revoke(&[&good])];
    let version_1 = authority.write("version-1.pem", include_str!("version-1.pem"));
    let too_old = Pair {
        certificate: version_1.clone(),
        key: version_1.clone(),
        ..good
    };
    let mut authority_too_old = with_pair("tls", &good);
    authority_too_old.client_ca = vec![version_1];
    for (listener, expected) in [
        (with_pair("tls", &mismatched), "is not the key of"),
        (with_pair("tls", &missing), "cannot read"),
        (with_pair("tls", &no_certificate), "has no certificate"),
        (with_pair("wss", &expired), "expired 150 days ago"),
        (with_pair("tls", &early), "not valid yet"),
        (at("tls://127.0.0.1:0"), "needs a certificate"),
        (two_and_one, "2 certificates and 1 keys"),
        (no_authority, "has no certificate"),
        (no_list, "has no list"),
        (list_of_nobody, "needs `client_ca`"),
        (
            list_of_others,
            "no authority in `client_ca` has made, so it would revoke nothing",
        ),
        (
            with_pair("tls", &too_old),
            "not of version 3; make a new one",
        ),
        (authority_too_old, "not of version 3; make a new one"),
    ] {
        let findings = findings(&listener);
        assert_eq!(findings.len(), 1, "{expected}: {findings:?}");
        let finding = &findings[0];
        // With one of these dates a listener can be opened.
        let is_date = ["expired", "not valid"]
            .iter()
            .any(|word| expected.contains(word));
        let kind = if is_date { "error: " } else { "unusable: " };
        assert!(
            finding.starts_with(kind) && finding.contains(expected),
            "{finding}"
        );
    }

    let soon = UnixTime(1_893_456_000_000 - 5 * 24 * 3_600_000); // five days before 2030
    let findings = check_certificates(&with_pair("tls", &good), soon);
    assert!(
        matches!(&findings[..], [CertificateFinding::Warning(w)] if w.what.contains("expires in")),
        "{findings:?}"
    );
}

/// A list that is late keeps nobody out, so somebody has to be told.
#[test]
fn a_list_of_revoked_certificates_that_is_late_is_told_of() {
    let authority = Authority::new("late");
    let bad = authority.client("bad", "bad", "Meadow");
    let with_list = |list| ListenerConfig {
        client_ca: vec![authority.file()],
        crl: vec![list],
        ..with_pair(
            "tls",
            &authority.server_in("server", &["localhost"], (2025, 2030)),
        )
    };
    let late = with_list(authority.revoke_until(&[&bad], 2026));
    let said = findings(&late);
    assert_eq!(said.len(), 1, "{said:?}");
    let expected = "should have been replaced 151 days ago: whoever was revoked since is let in";
    assert!(
        said[0].starts_with("warning: ") && said[0].contains(expected),
        "{said:?}"
    );
    Dial::of(&authority)
        .showing(&bad)
        .is_refused(&Broker::start(vec![late]));
    assert_eq!(findings(&with_list(authority.revoke(&[&bad]))), [""; 0]);
}

/// Of every kind that people write into rules, in the order of the certificate.
#[test]
fn alternative_names_are_names_and_addresses() {
    let authority = Authority::new("alternative");
    let names = ["pump-7.example.org", "192.0.2.7", "2001:db8::7"];
    let pair = authority.client_of_names("device", "device 7", &names);
    let listener = ListenerConfig {
        client_ca: vec![authority.file()],
        ..listener(&authority, "tls")
    };
    let broker = Broker::start(vec![listener]);
    is_let_in(&mut Dial::of(&authority).showing(&pair).open(&broker));
    let certificate = broker.guest().certificate.expect("it has shown one");
    let known: Vec<&str> = certificate.alternative_names().collect();
    assert_eq!(known, names);
}

#[test]
fn class_07_certificates_that_have_not_signed_the_one_before_prove_nothing() {
    let der = |file: &str| CertificateDer::from_pem_file(file).unwrap();
    let authority = Authority::new("path");
    let client = der(&authority.client("client", "client", "somebody").certificate);
    let genuine = der(&authority.file());
    drop(authority);
    let impostor = der(&Authority::new("path").file());
    let other = der(&Authority::new("path-other").file());
    let length = |shown: &[&CertificateDer<'static>]| {
        let shown: Vec<_> = shown.iter().map(|der| (*der).clone()).collect();
        let read = whimbrel_transport::read_certificate(&shown).unwrap();
        read.expect("there is one").chain().len()
    };
    assert_eq!(length(&[&client]), 1);
    assert_eq!(length(&[&client, &genuine]), 2);
    assert_eq!(length(&[&client, &other]), 1, "of somebody else");
    assert_eq!(length(&[&client, &impostor]), 1, "of its name alone");
    assert_eq!(length(&[&client, &other, &genuine]), 2, "in any order");
}
