//! `whimbrel acl`: what access rules say, without a broker.

use crate::arguments::with_hint;
use crate::config::{Flags, Problem, Settings, complain_about, listener_names, load, read_rules};
use crate::misuse;
use crate::output::{complain, print};
use crate::summary::now;
use argh::{ArgsInfo, FromArgs};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use whimbrel_auth::users::Users;
use whimbrel_core::access::is_reserved;
use whimbrel_core::access::rule::{Operation, Rule};
use whimbrel_core::access::rules::{Decision, Origin, Rules, Subject, WideSubscriptions};
use whimbrel_core::config::TopicsConfig;
use whimbrel_core::topic::{TopicFilter, TopicName};
use whimbrel_core::{Certificate, Grant, Peer, Verdict};

/// Ask access rules who may do what.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "acl", help_triggers("-h", "--help", "help"))]
pub(crate) struct Acl {
    /// what to do
    #[argh(subcommand)]
    command: Command,
}

/// What to ask.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    /// Whether one client may do one thing, and by which rule.
    Test(Test),
}

/// Say whether a client may do something, and by which rule at which line.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "test",
    help_triggers("-h", "--help", "help"),
    note = "The rules are those of access.file in the configuration, or of --rules. What else the configuration says about it counts, too: bans, groups of the password file, tenants, [topics].",
    example = "{command_name} --rules access.toml --user alice --client c1 publish a/b",
    error_code(0, "it may"),
    error_code(1, "it may not"),
    error_code(2, "what was typed, or the file, is wrong")
)]
struct Test {
    /// the configuration file
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
    /// the file of the rules, instead of the one that the configuration names
    #[argh(option, arg_name = "file")]
    rules: Option<String>,
    /// the verified user; left out: an anonymous client
    #[argh(option, short = 'u', arg_name = "name")]
    user: Option<String>,
    /// the client identifier
    #[argh(option, arg_name = "id", default = "String::new()")]
    client: String,
    /// a group that the user is in; may be there several times
    #[argh(option, arg_name = "name")]
    group: Vec<String>,
    /// the tenant
    #[argh(option, arg_name = "name")]
    tenant: Option<String>,
    /// the listener it comes by, as the rules call it; default: the first
    #[argh(option, arg_name = "name")]
    listener: Option<String>,
    /// the address it comes from
    #[argh(option, arg_name = "address")]
    address: Option<IpAddr>,
    /// the common name of its certificate
    #[argh(option, arg_name = "name")]
    certificate: Option<String>,
    /// the organisation of its certificate
    #[argh(option, arg_name = "name")]
    organization: Option<String>,
    /// an alternative name of its certificate; may be there several times
    #[argh(option, arg_name = "name")]
    alternative_name: Vec<String>,
    /// publish, subscribe or receive
    #[argh(positional, from_str_fn(operation))]
    operation: Operation,
    /// the topic; for subscribe, the filter
    #[argh(positional)]
    topic: String,
}

fn operation(text: &str) -> Result<Operation, String> {
    let known = Operation::ALL
        .into_iter()
        .find(|known| known.word() == text);
    known.ok_or_else(|| "it is publish, subscribe or receive".to_owned())
}

impl Acl {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let Command::Test(test) = self.command;
        match test.answer() {
            Ok(Answer { text, is_allowed }) => {
                print(&text);
                if is_allowed {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(Wrong::Files(problems)) => {
                complain_about(&problems);
                misuse()
            }
            Err(Wrong::Typed(why)) => {
                complain(&with_hint(&why, "acl test"));
                misuse()
            }
        }
    }
}

/// What there is to say.
struct Answer {
    text: String,
    is_allowed: bool,
}

/// Why there is no answer.
enum Wrong {
    Files(Vec<Problem>),
    Typed(String),
}

impl Test {
    fn answer(&self) -> Result<Answer, Wrong> {
        let parsed = TopicFilter::parse(&self.topic)
            .map_err(|why| Wrong::Typed(format!("{}: {why}", self.topic)))?;
        if self.operation == Operation::Publish && parsed.filter.has_wildcards() {
            let why = format!("{}: nothing is published to a wildcard", self.topic);
            return Err(Wrong::Typed(why));
        }
        let loaded = load(
            self.config.as_deref(),
            std::env::vars_os(),
            &Flags::default(),
        );
        let loaded = loaded.map_err(Wrong::Files)?;
        if self.rules.is_none() && loaded.file.is_none() {
            return Err(Wrong::Typed(
                "there are no rules to ask; name their file with --rules, or a configuration with \
                 --config"
                    .to_owned(),
            ));
        }
        let (file, rules) = self.rules(&loaded.settings)?;
        Ok(match self.client(&loaded.settings)? {
            Ok(client) => {
                let asked = Asked {
                    topics: &loaded.settings.server.broker.topics,
                    rules: rules.as_deref(),
                    file: &file,
                };
                asked.about(&client, self.operation, &self.topic)
            }
            Err(why) => Answer {
                text: format!("it may not connect: {why}\n"),
                is_allowed: false,
            },
        })
    }

    /// The file of the rules, and what is in it, if there are some.
    fn rules(&self, settings: &Settings) -> Result<(String, Option<Arc<Rules>>), Wrong> {
        if let Some(file) = &self.rules {
            let (rules, _) = read_rules(file, &listener_names(settings)).map_err(Wrong::Files)?;
            return Ok((file.clone(), Some(Arc::new(rules))));
        }
        let file = settings.access.file.clone().unwrap_or_default();
        Ok((file, settings.server.broker.access.rules.clone()))
    }

    /// Who it is once it has connected, or why it may not.
    fn client(&self, settings: &Settings) -> Result<Result<Client, &'static str>, Wrong> {
        let peer = Peer {
            address: self.address.map(|address| (address, 0).into()),
            listener: self.listener(&listener_names(settings))?,
            certificate: self.certificate()?.map(Box::new),
            proxy: None,
        };
        let listener = &settings.server.listeners[usize::from(peer.listener)];
        let certificate = peer.certificate.as_deref();
        let named = certificate.and_then(|certificate| listener.certificate_user.of(certificate));
        let user = named.or(self.user.as_deref()).map(str::to_owned);
        let mut groups = self.group.clone();
        if let Some(file) = &settings.authentication.password_file
            && let Some(user) = self.user.as_deref().filter(|_| named.is_none())
        {
            groups.extend(groups_of(user, file)?);
        }
        let verdict = Verdict::Accept(Grant {
            user,
            groups,
            tenant: self.tenant.clone(),
            ..Grant::default()
        });
        let Verdict::Accept(grant) = listener.tenant.settle(verdict, &peer) else {
            return Ok(Err(
                "it has no tenant by what its listener says, or another one",
            ));
        };
        let (bans, now) = (&settings.server.broker.access.bans, now());
        let is_banned = bans.has_client(now, &self.client, grant.user.as_deref())
            || self.address.is_some_and(|ip| bans.has_address(now, ip));
        if is_banned {
            return Ok(Err("a ban names it"));
        }
        let client_id = self.client.clone();
        Ok(Ok(Client {
            peer,
            grant,
            client_id,
        }))
    }

    fn listener(&self, listeners: &[String]) -> Result<u16, Wrong> {
        let number = match &self.listener {
            None => Some(0),
            Some(name) => listeners.iter().position(|known| known == name),
        };
        let number = number.and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| {
            let known = listeners.join(", ");
            Wrong::Typed(format!("no such listener; there are {known}"))
        })
    }

    fn certificate(&self) -> Result<Option<Certificate>, Wrong> {
        let (name, organization) = (self.certificate.clone(), self.organization.clone());
        let names = self.alternative_name.clone();
        if name.is_none() && organization.is_none() && names.is_empty() {
            return Ok(None);
        }
        Certificate::new(name, organization, names)
            .map(Some)
            .map_err(|why| Wrong::Typed(why.to_string()))
    }
}

/// The groups of a user in a password file; none of somebody who is verified by other means.
fn groups_of(user: &str, file: &str) -> Result<Vec<String>, Wrong> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Wrong::Typed(format!("{file} cannot be read: {error}")))?;
    let users = Users::parse(&text).map_err(|bad| {
        let lines: Vec<String> = bad.iter().map(|line| format!("{file}: {line}")).collect();
        Wrong::Typed(lines.join("\n"))
    })?;
    let groups = users.get(user).map_or(&[][..], |user| &user.groups);
    Ok(groups.iter().map(|group| String::from(&**group)).collect())
}

/// Who has connected.
struct Client {
    peer: Peer,
    grant: Grant,
    client_id: String,
}

/// What decides about what it does.
struct Asked<'a> {
    topics: &'a TopicsConfig,
    rules: Option<&'a Rules>,
    /// Where the rules stand.
    file: &'a str,
}

impl Asked<'_> {
    /// In the order of the broker.
    fn about(&self, client: &Client, operation: Operation, said: &str) -> Answer {
        let Grant {
            user,
            tenant,
            groups,
            ..
        } = &client.grant;
        let subject = Subject {
            user: user.as_deref(),
            client_id: &client.client_id,
            tenant: tenant.as_deref(),
            groups,
            rules: &[],
            from: Some(Origin {
                address: client.peer.address.map(|address| address.ip()),
                listener: client.peer.listener,
                certificate: client.peer.certificate.as_deref(),
            }),
        };
        let Some(names) = self.topics.of(&subject) else {
            let why = "it may not connect: it is called nothing that could stand in a topic, as \
                       [topics] asks for\n";
            return Answer {
                text: why.to_owned(),
                is_allowed: false,
            };
        };
        let topic = names.meant(said);
        let mut text = String::new();
        if topic != said {
            text.push_str(&format!("{said} means {topic}\n"));
        }
        // What it says is a filter, and was taken for one.
        let filter = TopicFilter::parse(&topic).map(|parsed| parsed.filter);
        let refused = match filter {
            Err(_) => Some("it is too long for what it means"),
            Ok(filter) if !names.allow(filter) => Some("it is not below topics.required_prefix"),
            Ok(_)
                if operation == Operation::Publish
                    && TopicName::new(&topic).is_ok_and(is_reserved) =>
            {
                Some("what is below $SYS is the broker's own word, whatever the rules allow")
            }
            Ok(_) => None,
        };
        if let Some(why) = refused {
            text.push_str(&format!("{operation} {topic}: denied: {why}\n"));
        }
        let mut is_allowed = refused.is_none();
        // To subscribe takes both, and so does a message that comes.
        let operations: &[Operation] = match operation {
            Operation::Publish => &[Operation::Publish],
            Operation::Subscribe => &[Operation::Subscribe, Operation::Receive],
            Operation::Receive => &[Operation::Receive, Operation::Subscribe],
        };
        for operation in operations {
            let (Ok(filter), None) = (filter, refused) else {
                break;
            };
            let (said, may) = self.said_of(&subject, *operation, filter);
            is_allowed &= may;
            text.push_str(&format!("{operation} {topic}: {said}\n"));
        }
        Answer { text, is_allowed }
    }

    /// What the rules say, and whether that is yes.
    fn said_of(
        &self,
        subject: &Subject<'_>,
        operation: Operation,
        filter: TopicFilter<'_>,
    ) -> (String, bool) {
        let Some(rules) = self.rules else {
            return ("allowed: there are no rules".to_owned(), true);
        };
        let is_filtering = rules.wide_subscriptions() == WideSubscriptions::Filter;
        let at = |rule: &Rule| format!("by the rule at {}:{}", self.file, rule.line);
        match rules.decide(subject, operation, filter) {
            Decision::Allowed(rule) => (format!("allowed {}", at(rule)), true),
            Decision::Partly(rule) if is_filtering => {
                let why = format!("allowed in part {}; each message is looked at", at(rule));
                (why, true)
            }
            Decision::Partly(rule) => {
                let why = "not everything that it matches is allowed";
                (format!("denied: {why}, {}", at(rule)), false)
            }
            Decision::Denied(Some(rule)) => (format!("denied {}", at(rule)), false),
            Decision::Denied(None) => ("denied: no rule allows it".to_owned(), false),
        }
    }
}
