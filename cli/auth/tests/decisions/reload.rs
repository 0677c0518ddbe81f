//! What holds is replaced as a whole, or not at all.

use crate::class_06_escaping::{Answering, config_for};
use crate::order::TOKEN;
use crate::{
    Temporary, WRONG, authority, let_in, password_file, prepared, stranger, try_password, verdict,
    with_password,
};
use whimbrel_auth::{Authority, Config, Prepared};
use whimbrel_core::access::identity::{Certificate, Grant};
use whimbrel_core::action::{Peer, Verdict};
use whimbrel_core::runtime::{Anonymous, Authenticator, CertificateUser, ListenerConfig};

#[test]
fn what_was_prepared_holds_at_once() {
    let users = password_file(&[("alice", "secret"), ("bob", "b"), ("carol", "c")]);
    let file = Temporary::new("reload", &users);
    let config = Config {
        password_file: file.path(),
        ..Config::default()
    };
    let authority = authority(&config);
    let_in(try_password(&authority, "bob", "b"));

    // Alice stays as she is, Bob gets another password, Carol goes, Dave comes.
    let alice = users.lines().next().unwrap();
    let others = password_file(&[("bob", "new"), ("dave", "d")]);
    file.write(&format!("{alice}\n{others}"));
    // Nothing is taken over by itself.
    let_in(try_password(&authority, "carol", "c"));
    authority.replace(prepared(&config).unwrap());
    let_in(try_password(&authority, "alice", "secret"));
    let_in(try_password(&authority, "bob", "new"));
    let_in(try_password(&authority, "dave", "d"));
    // What was verified a short while ago is forgotten too.
    assert_eq!(try_password(&authority, "bob", "b"), WRONG);
    assert_eq!(try_password(&authority, "carol", "c"), WRONG);
}

/// Whoever was let in, by any means, is known by what that was, and stays for as long as it holds.
#[test]
fn what_a_grant_rests_on_is_asked_again() {
    let [alice, bob] = ["alice", "bob"].map(|name| password_file(&[(name, "secret")]));
    let file = Temporary::new("holds-users", &format!("{alice}{bob}"));
    let secret = Temporary::new("holds-jwt", "0123456789abcdef0123456789abcdef");
    let service = Answering::start("204 No Content", "");
    let config = Config {
        password_file: file.path(),
        jwt_secret_file: secret.path(),
        ..config_for(service.address)
    };
    let listener = ListenerConfig {
        allow_anonymous: Anonymous::Always,
        certificate_user: CertificateUser::CommonName,
        ..ListenerConfig::default()
    };
    let read = |config: &Config, listener: &ListenerConfig| {
        Prepared::read(config, std::slice::from_ref(listener)).unwrap_or_else(|_| panic!("good"))
    };
    let authority = Authority::new(read(&config, &listener));
    let certificate = Certificate::new(Some("pump".to_owned()), Some("Acme".to_owned()), vec![]);
    let mut shows = stranger();
    shows.peer.certificate = Some(Box::new(certificate.unwrap()));
    let clients: Vec<(&str, Peer, Grant)> = [
        ("alice", with_password("alice", "secret")),
        ("bob", with_password("bob", "secret")),
        ("token", with_password("x", TOKEN)),
        ("service", with_password("eve", "e")),
        ("certificate", shows),
        ("nobody", stranger()),
    ]
    .into_iter()
    .map(|(name, credentials)| {
        let peer = credentials.peer.clone();
        match verdict(&authority, credentials) {
            Verdict::Accept(grant) => (name, peer, grant),
            Verdict::Continue { .. } | Verdict::Refuse(_) => panic!("{name} is refused"),
        }
    })
    .collect();
    let lost_after = |config: &Config, listener: &ListenerConfig| {
        authority.replace(read(config, listener));
        let lost = clients
            .iter()
            .filter(|(_, peer, grant)| !authority.still_holds(peer, grant));
        lost.map(|(name, ..)| *name).collect::<Vec<_>>()
    };
    assert_eq!(lost_after(&config, &listener), [""; 0]);

    // In the file: another password, other groups, not there, and somebody else's business so far.
    file.write(&format!("{}{bob}", password_file(&[("alice", "new")])));
    assert_eq!(lost_after(&config, &listener), ["alice"]);
    file.write(&format!("{}{bob}", alice.replace(":staff", ":")));
    assert_eq!(lost_after(&config, &listener), ["alice"]);
    file.write(&alice);
    assert_eq!(lost_after(&config, &listener), ["bob"]);
    file.write(&format!("{alice}{bob}{}", password_file(&[("eve", "e")])));
    assert_eq!(lost_after(&config, &listener), ["service"]);
    file.write(&format!("{alice}{bob}"));

    secret.write("another-secret-of-thirty-two-bytes");
    assert_eq!(lost_after(&config, &listener), ["token"]);
    secret.write("0123456789abcdef0123456789abcdef");
    for change in [
        |config: &mut Config| config.jwt_audience = Some("mqtt".to_owned()),
        |config: &mut Config| config.jwt_issuer = Some("me".to_owned()),
        |config: &mut Config| config.jwt_user_claim = "user".to_owned(),
        |config: &mut Config| config.jwt_client_id_claim = Some("cid".to_owned()),
        |config: &mut Config| config.jwt_rules_claim = Some("rules".to_owned()),
        |config: &mut Config| config.jwt_secret_file = None,
    ] {
        let mut changed = config.clone();
        change(&mut changed);
        assert_eq!(lost_after(&changed, &listener), ["token"]);
    }

    let mut elsewhere = config.clone();
    elsewhere.http_url = Some("http://127.0.0.1:1/".to_owned());
    assert_eq!(lost_after(&elsewhere, &listener), ["service"]);

    let never = ListenerConfig {
        allow_anonymous: Anonymous::Never,
        ..listener.clone()
    };
    assert_eq!(lost_after(&config, &never), ["nobody"]);
    for part in [CertificateUser::Organization, CertificateUser::None] {
        let other = ListenerConfig {
            certificate_user: part,
            ..listener.clone()
        };
        assert_eq!(lost_after(&config, &other), ["certificate"]);
    }
    let nobody = Config::default();
    let checked = ["alice", "bob", "token", "service"];
    assert_eq!(lost_after(&nobody, &listener), checked);
    assert_eq!(lost_after(&config, &listener), [""; 0]);
}
