//! `whimbrel acl`: what access rules say, without a broker.

use crate::config::{Flags, Problem, complain_about, listener_names, load, read_rules};
use crate::misuse;
use crate::output::{complain, print};
use argh::{ArgsInfo, FromArgs};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use whimbrel_core::Config;
use whimbrel_core::access::identity::Certificate;
use whimbrel_core::access::rule::{Operation, Rule};
use whimbrel_core::access::rules::{Decision, Origin, Rules, Subject, WideSubscriptions};
use whimbrel_core::topic::TopicFilter;

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
    note = "The rules are those of access.file in the configuration, or of --rules.",
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
                complain(&why);
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
        let (file, rules, listeners) = self.rules()?;
        let certificate = self.certificate()?;
        let subject = Subject {
            user: self.user.as_deref(),
            client_id: &self.client,
            tenant: self.tenant.as_deref(),
            groups: &self.group,
            rules: &[],
            from: Some(Origin {
                address: self.address,
                listener: self.listener(&listeners)?,
                certificate: certificate.as_ref(),
            }),
        };
        // To subscribe takes both.
        let operations: &[Operation] = match self.operation {
            Operation::Subscribe => &[Operation::Subscribe, Operation::Receive],
            Operation::Publish => &[Operation::Publish],
            Operation::Receive => &[Operation::Receive],
        };
        let is_filtering = rules.wide_subscriptions() == WideSubscriptions::Filter;
        let (mut text, mut is_allowed) = (String::new(), true);
        for operation in operations {
            let decision = rules.decide(&subject, *operation, parsed.filter);
            let at = |rule: &Rule| format!("by the rule at {file}:{}", rule.line);
            let said = match decision {
                Decision::Allowed(rule) => format!("allowed {}", at(rule)),
                Decision::Partly(rule) if is_filtering => {
                    format!("allowed in part {}; each message is looked at", at(rule))
                }
                Decision::Partly(rule) => {
                    format!(
                        "denied: not everything that it matches is allowed, {}",
                        at(rule)
                    )
                }
                Decision::Denied(Some(rule)) => format!("denied {}", at(rule)),
                Decision::Denied(None) => "denied: no rule allows it".to_owned(),
            };
            is_allowed &= match decision {
                Decision::Allowed(_) => true,
                Decision::Partly(_) => is_filtering,
                Decision::Denied(_) => false,
            };
            text.push_str(&format!("{operation} {}: {said}\n", self.topic));
        }
        Ok(Answer { text, is_allowed })
    }

    /// The rules, the file they stand in, and the names of the listeners.
    fn rules(&self) -> Result<(String, Arc<Rules>, Vec<String>), Wrong> {
        let loaded = load(
            self.config.as_deref(),
            std::env::vars_os(),
            &Flags::default(),
        );
        let settings = loaded.map_err(Wrong::Files)?.settings;
        let listeners = listener_names(&settings);
        if let Some(file) = &self.rules {
            let rules = read_rules(file, &listeners).map_err(Wrong::Files)?;
            return Ok((file.clone(), Arc::new(rules), listeners));
        }
        let Config { access, .. } = settings.server.broker;
        match (settings.access.file, access.rules) {
            (Some(file), Some(rules)) => Ok((file, rules, listeners)),
            _ => Err(Wrong::Typed(
                "there are no rules: everything is allowed; name a file with --rules, or a \
                 configuration that has access.file with --config"
                    .to_owned(),
            )),
        }
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
        if self.certificate.is_none() && self.organization.is_none() {
            return Ok(None);
        }
        let (name, organization) = (self.certificate.clone(), self.organization.clone());
        let certificate = Certificate::new(name, organization, Vec::new());
        certificate
            .map(Some)
            .map_err(|why| Wrong::Typed(why.to_string()))
    }
}
