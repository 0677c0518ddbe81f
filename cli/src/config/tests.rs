//! The table of keys against the documents, the core's own configuration, and itself.

use super::document::{every_key, with_reference_tables};
use super::file::Reader;
use super::*;
use std::path::{Path, PathBuf};
use whimbrel_core::runtime::Anonymous;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a file that holds `text` sets, and what is wrong with it.
fn read(text: &str) -> (Settings, Vec<String>) {
    let (mut settings, mut places, mut problems) = (Settings::default(), Places::new(), Vec::new());
    Reader {
        path: "test.toml",
        text,
        settings: &mut settings,
        places: &mut places,
        problems: &mut problems,
    }
    .read();
    problems.sort();
    let problems = problems.iter().map(Problem::to_string).collect();
    (settings, problems)
}

fn defaults() -> Settings {
    let mut settings = Settings::default();
    settings.listener();
    settings
}

fn with_environment(variables: &[(&str, &str)], flags: &Flags) -> Result<Loaded, Vec<Problem>> {
    let variables = variables
        .iter()
        .map(|(name, text)| ((*name).into(), (*text).into()));
    load(None, variables, flags)
}

/// Compares a committed document with what it has to be; `WHIMBREL_BLESS=1` rewrites it instead.
fn assert_document(path: &str, expected: &str) {
    let path = repository().join(path);
    if std::env::var_os("WHIMBREL_BLESS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the table of keys says; run WHIMBREL_BLESS=1 cargo test -p whimbrel",
        path.display()
    );
}

#[test]
fn the_example_file_is_committed() {
    assert_document("docs/whimbrel.toml", &example_file());
}

#[test]
fn the_reference_is_committed() {
    let path = "docs/configuration.md";
    let document = std::fs::read_to_string(repository().join(path)).unwrap();
    let expected = with_reference_tables(&document).expect("a marker for every section");
    assert_document(path, &expected);
}

#[test]
fn the_examples_in_the_documents_are_good() {
    for path in [
        "docs/authentication.md",
        "docs/configuration.md",
        "docs/operations.md",
    ] {
        let document = std::fs::read_to_string(repository().join(path)).unwrap();
        let mut examples = document.split("```toml\n").skip(1).peekable();
        assert!(examples.peek().is_some(), "{path} has examples");
        for example in examples {
            let (text, _) = example.split_once("```").unwrap();
            assert_eq!(read(text).1, Vec::<String>::new(), "{path}: {text}");
        }
    }
}

#[test]
fn the_example_file_holds_the_defaults() {
    let as_committed = example_file();
    assert_eq!(read(&as_committed), (Settings::default(), vec![]));

    let uncommented: String = as_committed
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first != ' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(
        uncommented
            .lines()
            .any(|line| line.starts_with("[[listener]]"))
    );
    assert_eq!(read(&uncommented), (defaults(), vec![]));
}

#[test]
fn every_key_has_a_default_or_an_example_that_is_accepted() {
    for (section, key) in every_key() {
        let value = key.default().or_else(|| key.example.map(str::to_owned));
        let value = value.unwrap_or_else(|| panic!("{} needs an example", key.name));
        let (_, problems) = read(&format!("{}\n{} = {value}\n", section.heading(), key.name));
        assert!(problems.is_empty(), "{problems:?}");
        assert!(
            key.doc.ends_with('.') && key.why.ends_with('.'),
            "{}",
            key.name
        );
    }
}

#[test]
fn every_key_is_there_once_and_has_a_variable_of_its_own() {
    let mut names: Vec<String> = every_key()
        .map(|(section, key)| section.variable(key))
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// A field the broker has and the table has not would be a setting nobody can reach.
#[test]
fn every_field_of_the_configuration_is_a_key() {
    for (path, structure, section, others) in [
        ("core/src/config.rs", "Protocol", "protocol", &[][..]),
        ("core/src/config.rs", "SessionConfig", "session", &[]),
        ("core/src/config.rs", "Limits", "limits", &[]),
        // Sections of their own, and what is a flag.
        (
            "core/src/runtime/config.rs",
            "ServerConfig",
            "server",
            &["broker", "listeners", "recording", "storage"],
        ),
        (
            "core/src/runtime/config.rs",
            "ListenerConfig",
            "listener",
            &[],
        ),
        ("cli/auth/src/config.rs", "Config", "authentication", &[]),
    ] {
        let source = std::fs::read_to_string(repository().join(path)).unwrap();
        let begin = format!("pub struct {structure} {{");
        let (_, body) = source.split_once(&begin).expect("the struct is there");
        let (body, _) = body.split_once("\n}").expect("it ends");
        let mut fields: Vec<&str> = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub "))
            .filter_map(|field| field.split_once(':').map(|(name, _)| name))
            .filter(|name| !others.contains(name))
            .collect();
        let section = keys::section(section).unwrap();
        let mut known: Vec<&str> = section.key_names().collect();
        fields.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, fields, "[{}]", section.name);
    }
}

/// The same for the log, whose section begins with what is not a field there.
#[test]
fn every_field_of_the_log_is_a_key_or_not_for_operators() {
    let path = repository().join("core/src/log/config.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let (_, body) = source.split_once("pub struct LogConfig {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let fields = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub "))
        .filter_map(|field| field.split_once(':').map(|(name, _)| name));
    let section = keys::section("storage").unwrap();
    for field in fields {
        // They follow from the rest of the configuration.
        let is_internal = ["batch_bytes_max", "burst_bytes", "shards"].contains(&field);
        let name = field.replace("_max", "_maximum");
        assert_eq!(section.key(&name).is_none(), is_internal, "{field}");
    }
}

#[test]
fn what_is_wrong_with_the_log_is_blamed_on_the_setting() {
    for (name, text, expected) in [
        ("SEGMENT_BYTES", "100001", "a multiple of 4,096"),
        (
            "SEGMENT_BYTES",
            "100000",
            "from 64 KiB to 1 GiB, such as 102400",
        ),
        (
            "QUOTA_BYTES",
            "1 MiB",
            "room for four segments: at least \"64 MiB\"",
        ),
        ("DIRECTORY", "", "must name a directory"),
    ] {
        let name = format!("WHIMBREL_STORAGE_{name}");
        let problems = with_environment(&[(&name, text)], &Flags::default()).unwrap_err();
        let problem = problems[0].to_string();
        assert!(problem.starts_with(&format!("environment variable {name}: storage.")));
        assert!(problem.contains(expected), "{problem}");

        let memory = [(&*name, text), ("WHIMBREL_STORAGE_BACKEND", "memory")];
        assert!(with_environment(&memory, &Flags::default()).is_ok());
    }
}

/// What is on disk is not what the memory budget is about.
#[test]
fn limits_are_compared_as_the_backend_has_them() {
    let budget = ("WHIMBREL_LIMITS_MEMORY_BUDGET_BYTES", "4 MiB");
    for (backend, key) in [
        ("log", "queued_payload_memory_bytes"),
        ("memory", "queue_bytes_total_maximum"),
    ] {
        let variable = format!("WHIMBREL_LIMITS_{}", key.to_uppercase());
        let held = (&*variable, "8 MiB");
        let found = format!("limits.{key} = \"8 MiB\" is above");
        let kept = ("WHIMBREL_STORAGE_BACKEND", backend);
        let notes_of = |variables: &[(&str, &str)]| {
            let loaded = with_environment(variables, &Flags::default()).unwrap();
            loaded.notes.into_iter().map(|note| note.message)
        };
        let mut notes = notes_of(&[budget, held, kept]);
        assert!(notes.any(|note| note.starts_with(&found)), "{backend}");
        assert_eq!(notes_of(&[budget, kept]).len(), 0, "{backend}");
    }
}

#[test]
fn flags_decide_where_things_are_kept() {
    let memory = [("WHIMBREL_STORAGE_BACKEND", "memory")];
    let flags = Flags {
        data_dir: Some("elsewhere".to_owned()),
        ..Flags::default()
    };
    let loaded = with_environment(&memory, &flags).unwrap();
    assert_eq!(loaded.settings.storage.backend, Backend::Memory);
    assert!(loaded.notes[0].message.contains("nothing is kept there"));
    let loaded = with_environment(&[], &flags).unwrap();
    assert_eq!(loaded.settings.storage.backend, Backend::Log);
    assert_eq!(loaded.settings.storage.directory, "elsewhere");
    assert_eq!(loaded.notes, []);

    let flags = Flags {
        memory: true,
        ..Flags::default()
    };
    let loaded = with_environment(&[], &flags).unwrap();
    assert_eq!(loaded.settings.storage.backend, Backend::Memory);
}

#[test]
fn the_guarantee_is_what_holds() {
    for (variables, expected) in [
        (&[][..], "acknowledged means on disk"),
        (&[("BACKEND", "memory")], "lost when the broker stops"),
        (&[("SYNC", "never")], "a power cut may take anything"),
        (
            &[("SYNC", "interval"), ("SYNC_INTERVAL_MS", "250")],
            "a power cut may take the last 250 ms",
        ),
    ] {
        let variables: Vec<(String, &str)> = variables
            .iter()
            .map(|(name, text)| (format!("WHIMBREL_STORAGE_{name}"), *text))
            .collect();
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, text)| (name.as_str(), *text))
            .collect();
        let loaded = with_environment(&variables, &Flags::default()).unwrap();
        let guarantee = loaded.settings.storage.guarantee();
        assert!(guarantee.contains(expected), "{guarantee}");
    }
}

/// Sets each key to something else and looks for exactly that key to have changed.
#[test]
fn every_key_sets_its_own_field() {
    for (section, key) in every_key() {
        let value = match key.kind() {
            value::Kind::Truth => {
                let flipped = key.default().as_deref() != Some("true");
                flipped.to_string()
            }
            value::Kind::Integer(range, _) => {
                let first = range.start().to_string();
                let differs = key.default().as_ref() != Some(&first);
                if differs {
                    first
                } else {
                    (range.start() + 1).to_string()
                }
            }
            value::Kind::Text => key.example.unwrap_or("\"text\"").to_owned(),
            value::Kind::Choice(names) => {
                let other = names
                    .iter()
                    .find(|name| key.default() != Some(format!("\"{name}\"")));
                format!("\"{}\"", other.unwrap())
            }
            value::Kind::Choices(names) => format!("[\"{}\"]", names[0]),
            value::Kind::Texts => key.example.expect("lists show how they look").to_owned(),
        };
        let (settings, problems) = read(&format!("{}\n{} = {value}", section.heading(), key.name));
        assert!(problems.is_empty(), "{problems:?}");
        let mut settings = settings;
        for (_, other) in every_key() {
            let mut expected = other.default();
            if std::ptr::eq(other, key) {
                expected = settings_value(key, &mut settings);
                assert_ne!(expected, key.default(), "{}", key.name);
            }
            assert_eq!(
                settings_value(other, &mut settings),
                expected,
                "{}",
                other.name
            );
        }
    }
}

fn settings_value(key: &Key, settings: &mut Settings) -> Option<String> {
    key.get(settings).map(|value| value.show(key.unit))
}

#[test]
fn text_that_is_not_toml_is_named_with_its_place() {
    for (text, place) in [
        ("[log]\nlevel = info\n", "test.toml:2:"),
        (
            "[log]\nlevel = \"info\"\nlevel = \"warn\"\n",
            "test.toml:3:1:",
        ),
        ("[log\n", "test.toml:1:"),
    ] {
        let (_, problems) = read(text);
        assert!(problems[0].starts_with(place), "{problems:?}");
        assert!(problems[0].contains("this is not TOML"), "{problems:?}");
    }
}

#[test]
fn the_environment_sets_keys_and_every_listener() {
    let loaded = with_environment(
        &[
            ("PATH", "/bin"),
            ("WHIMBREL_LISTENER_URL", "tcp://127.0.0.1:0, tcp://[::1]:0"),
            ("WHIMBREL_LISTENER_ALLOW_ANONYMOUS", "always"),
            ("WHIMBREL_PROTOCOL_VERSIONS", "3.1.1,5.0"),
            ("WHIMBREL_LIMITS_UNSENT_BYTES_MAXIMUM", "2 MiB"),
            ("WHIMBREL_LOG_LEVEL", "debug"),
        ],
        &Flags::default(),
    )
    .unwrap();
    let settings = &loaded.settings;
    let urls: Vec<String> = settings
        .server
        .listeners
        .iter()
        .map(|l| l.url.to_string())
        .collect();
    assert_eq!(urls, ["tcp://127.0.0.1:0", "tcp://[::1]:0"]);
    assert!(
        settings
            .server
            .listeners
            .iter()
            .all(|l| l.allow_anonymous == Anonymous::Always)
    );
    assert_eq!(settings.server.broker.protocol.versions.len(), 2);
    assert_eq!(settings.server.broker.limits.unsent_bytes_maximum, 2 << 20);
    assert_eq!(settings.log.level, Level::Debug);
    assert_eq!(loaded.variables.len(), 5);
}

/// Each listener of the command line has its own keys, and they win over those for all.
#[test]
fn a_listener_on_the_command_line_has_its_own_keys() {
    let flags = Flags {
        listen: vec![
            "tls://0.0.0.0?certificate=a.crt,b.crt&key=a.key,b.key&allow_anonymous=never"
                .parse()
                .unwrap(),
            "unix:///run/whimbrel.sock?unix_mode=600".parse().unwrap(),
            "ws://127.0.0.1/mqtt?".parse().unwrap(),
        ],
        ..Flags::default()
    };
    let variables = [
        ("WHIMBREL_LISTENER_ALLOW_ANONYMOUS", "always"),
        ("WHIMBREL_LISTENER_BACKLOG", "7"),
    ];
    let settings = with_environment(&variables, &flags).unwrap().settings;
    let [tls, unix, web] = &settings.server.listeners[..] else {
        panic!("{:?}", settings.server.listeners);
    };
    assert_eq!(tls.url.to_string(), "tls://0.0.0.0:8883");
    assert_eq!(tls.certificate, ["a.crt", "b.crt"]);
    assert_eq!(tls.key, ["a.key", "b.key"]);
    assert_eq!(tls.allow_anonymous, Anonymous::Never);
    assert_eq!(unix.unix_mode.0, 0o600);
    assert_eq!(unix.allow_anonymous, Anonymous::Always);
    assert_eq!(web.url.path(), "/mqtt");
    assert!(
        [tls, unix, web]
            .iter()
            .all(|listener| listener.backlog == 7)
    );
    for (text, expected) in [
        (
            "tcp://127.0.0.1?certficate=a",
            "did you mean `certificate`?",
        ),
        ("tcp://127.0.0.1?url=tcp://0.0.0.0", "unknown key `url`"),
        ("tcp://127.0.0.1?nodelay", "KEY=VALUE"),
        ("tcp://127.0.0.1?nodelay=perhaps", "true or false"),
        ("tpc://127.0.0.1?nodelay=true", "should begin with"),
    ] {
        let why = text.parse::<Listen>().unwrap_err();
        assert!(why.contains(expected), "{text}: {why}");
    }
    // What is wrong with it as a whole has its place.
    let flags = Flags {
        listen: vec!["tcp://127.0.0.1?client_ca=a.crt".parse().unwrap()],
        ..Flags::default()
    };
    let problems = with_environment(&[], &flags).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with("--listen: client_ca does nothing")
    );
}

#[test]
fn flags_win_over_the_environment() {
    let flags = Flags {
        listen: vec!["tcp://127.0.0.1:7".parse().unwrap()],
        threads: Some(3),
        log_level: Some(Level::Error),
        ..Flags::default()
    };
    let variables = [
        (
            "WHIMBREL_LISTENER_URL",
            "tcp://127.0.0.1:1,tcp://127.0.0.1:2",
        ),
        ("WHIMBREL_LOG_LEVEL", "debug"),
        ("WHIMBREL_LOG_FORMAT", "json"),
    ];
    let settings = with_environment(&variables, &flags).unwrap().settings;
    assert_eq!(settings.server.listeners.len(), 1);
    assert_eq!(
        settings.server.listeners[0].url.to_string(),
        "tcp://127.0.0.1:7"
    );
    assert_eq!(settings.log.level, Level::Error);
    assert_eq!(settings.log.format, Format::Json);
}

#[test]
fn without_anything_the_defaults_hold() {
    let settings = with_environment(&[], &Flags::default()).unwrap().settings;
    assert_eq!(settings, defaults());
}

#[test]
fn mistakes_in_the_environment_are_all_named() {
    let problems = with_environment(
        &[
            ("WHIMBREL_LIMITS_CONECTIONS_MAXIMUM", "5"),
            ("WHIMBREL_LOG_LEVEL", "loud"),
            ("WHIMBREL_limits_fanout_step", "5"),
            ("WHIMBREL_WHATEVER", "5"),
        ],
        &Flags::default(),
    )
    .unwrap_err();
    let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        problems,
        [
            "environment variable WHIMBREL_LIMITS_CONECTIONS_MAXIMUM: there is no such setting; did \
             you mean WHIMBREL_LIMITS_CONNECTIONS_MAXIMUM?",
            "environment variable WHIMBREL_LOG_LEVEL: \"loud\" is not one of \"error\", \"warn\", \
             \"info\", \"debug\", \"trace\"",
            "environment variable WHIMBREL_WHATEVER: there is no such setting; unset it, or see \
             docs/configuration.md",
            "environment variable WHIMBREL_limits_fanout_step: there is no such setting; did you \
             mean WHIMBREL_LIMITS_FANOUT_STEP?",
        ]
    );
}

#[test]
fn the_password_of_pub_and_sub_is_not_a_mistake() {
    let password = ("WHIMBREL_PASSWORD", "secret");
    let loaded = with_environment(&[password], &Flags::default()).unwrap();
    assert_eq!(loaded.settings, defaults());
}

#[test]
fn what_kubernetes_says_of_a_service_of_our_name_is_not_a_mistake() {
    let of_kubernetes = [
        ("WHIMBREL_SERVICE_HOST", "10.0.0.7"),
        ("WHIMBREL_SERVICE_PORT", "1883"),
        ("WHIMBREL_SERVICE_PORT_MQTT", "1883"),
        ("WHIMBREL_PORT", "tcp://10.0.0.7:1883"),
        ("WHIMBREL_PORT_1883_TCP", "tcp://10.0.0.7:1883"),
        ("WHIMBREL_PORT_1883_TCP_PROTO", "tcp"),
        ("WHIMBREL_EDGE_PORT_1883_TCP_ADDR", "10.0.0.7"),
    ];
    let loaded = with_environment(&of_kubernetes, &Flags::default()).unwrap();
    assert_eq!(loaded.settings, defaults());
    assert_eq!(loaded.variables, Vec::<String>::new());

    assert!(with_environment(&[("WHIMBREL_PORT", "1883")], &Flags::default()).is_err());
}

#[test]
fn no_torn_file_crashes_the_reader() {
    let file = example_file().replace("\n#", "\n");
    for end in (0..file.len()).step_by(61) {
        let torn = String::from_utf8_lossy(&file.as_bytes()[..end]);
        let _ = read(&torn);
    }
}

#[test]
fn keys_that_do_not_fit_together_are_blamed_on_the_one_that_was_set() {
    let problems = with_environment(
        &[("WHIMBREL_LIMITS_UNSENT_BYTES_MAXIMUM", "1 KiB")],
        &Flags::default(),
    )
    .unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "environment variable WHIMBREL_LIMITS_UNSENT_BYTES_MAXIMUM: limits.unsent_bytes_pause: must \
         not be above limits.unsent_bytes_maximum; limits.unsent_bytes_maximum is \"1 KiB\", \
         limits.unsent_bytes_pause is \"256 KiB\""
    );
}

#[test]
fn one_address_is_listened_at_once() {
    let url = "tcp://127.0.0.1:1,tcp://127.0.0.1:1";
    let problems =
        with_environment(&[("WHIMBREL_LISTENER_URL", url)], &Flags::default()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "environment variable WHIMBREL_LISTENER_URL: tcp://127.0.0.1:1 is listened at twice; name it once"
    );
}

/// Any text is read without a panic, and whatever is wrong is said with its place: the example file
/// with lines that are lost, doubled, cut, swapped and garbled.
#[test]
fn damaged_files_are_answered_with_places() {
    let whole = example_file().replace("\n# ", "\n");
    let lines: Vec<&str> = whole.lines().collect();
    let mut drawn = 1_u64;
    let mut draw = |bound: usize| {
        drawn = drawn
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E);
        (drawn >> 33) as usize % bound
    };
    for _ in 0..500 {
        let mut damaged: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for _ in 0..=draw(6) {
            let (place, other) = (draw(damaged.len()), draw(damaged.len()));
            match draw(5) {
                0 => damaged[place].clear(),
                1 => damaged[place] = damaged[other].clone(),
                2 => damaged.swap(place, other),
                3 => {
                    let half = damaged[place].chars().count() / 2;
                    damaged[place] = damaged[place].chars().take(half).collect();
                }
                _ => damaged[place].push(['"', '=', '[', '\u{0}', '9', 'é'][draw(6)]),
            }
        }
        for problem in read(&damaged.join("\n")).1 {
            assert!(problem.starts_with("test.toml:"), "{problem}");
        }
    }
}
