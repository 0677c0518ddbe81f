//! `whimbrel sub`: writes every message that arrives to the standard output, one a line, as it
//! comes.
//!
//! A QoS 1 or 2 message is acknowledged when it has been written, so that what this program did not
//! write is still the server's.

use crate::client_failure::{Failure, cannot_start, exit_code, explain, in_words, open, run};
use crate::client_options::{ClientOptions, Server, with_client_options};
use crate::client_property::Target;
use crate::message_format::Format;
use crate::output::complain;
use crate::runtime::client::{Config, Connection, Event, Events, Message, RequestError};
use crate::runtime::{or, sleep};
use crate::signals::{Signal, Signals};
use argh::{ArgsInfo, FromArgs};
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use whimbrel_core::codec::packet::{QoS, RetainHandling, SubscribeOptions, Version};
use whimbrel_core::codec::{PropertyBuffer, ReasonCode};
use whimbrel_core::topic::{TopicFilter, TopicName};

with_client_options! {
    /// Subscribe, and write what arrives.
    #[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
    #[argh(
        subcommand,
        name = "sub",
        help_triggers("--help"),
        note = "SIGINT (Ctrl-C) and SIGTERM end it with a DISCONNECT.",
        example = "{command_name} -t lamp",
        example = "{command_name} -v -t '#' -T '$SYS/#'",
        example = "{command_name} -t answers -C 1 -W 5 --json",
        error_code(0, "-C messages have come, -W has passed without -C, or it was stopped"),
        error_code(1, "no connection, refused, lost, or fewer messages than -C within -W"),
        error_code(2, "what was typed is wrong")
    )]
    pub(crate) struct Subscribe {
        /// what to subscribe to; may be there several times
        #[argh(option, short = 't', arg_name = "filter")]
        pub(crate) topic: Vec<String>,
        /// what to leave out of it; may be there several times
        #[argh(option, short = 'T', arg_name = "filter")]
        pub(crate) filter_out: Vec<String>,
        /// what to give up of a session that is gone on with; may be there several times
        #[argh(option, short = 'U', arg_name = "filter")]
        pub(crate) unsubscribe: Vec<String>,
        /// end after so many messages
        #[argh(option, short = 'C', arg_name = "count")]
        pub(crate) count: Option<u64>,
        /// end after so many seconds
        #[argh(option, short = 'W', arg_name = "seconds")]
        pub(crate) wait: Option<u64>,
        /// write the topic before the message
        #[argh(switch, short = 'v')]
        pub(crate) verbose: bool,
        /// write messages in hexadecimal digits
        #[argh(switch)]
        pub(crate) hex: bool,
        /// write JSON: time, topic, qos, retain, payload (payload_base64 where it is not UTF-8),
        /// properties
        #[argh(switch)]
        pub(crate) json: bool,
        /// leave out messages that the server had kept
        #[argh(switch, short = 'R')]
        pub(crate) no_retained: bool,
        /// not what is published under the same client identifier. 5.0
        #[argh(switch)]
        pub(crate) no_local: bool,
        /// whether a message was published to be kept stays visible. 5.0
        #[argh(switch)]
        pub(crate) retain_as_published: bool,
        /// kept messages on subscribing: 0 always, 1 only if the subscription is new, 2 never;
        /// default 0. 5.0
        #[argh(option, arg_name = "number", from_str_fn(parse_retain_handling))]
        pub(crate) retain_handling: Option<RetainHandling>,
    }
}

fn parse_retain_handling(text: &str) -> Result<RetainHandling, String> {
    let bits = text.parse().ok().and_then(RetainHandling::from_bits);
    bits.ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

/// What happened first.
enum Turn {
    Answered(Result<(), Unanswered>),
    Came(Option<Event>),
    Late,
    Interrupted,
}

/// Why messages are written no longer.
enum Stop {
    /// Everything is done.
    Done,
    /// Nobody reads the output any more.
    NobodyReads,
    /// The connection has ended.
    Ended(Failure),
}

impl Subscribe {
    /// Does it.
    pub(crate) fn run(mut self) -> ExitCode {
        let options = self.client_options();
        match self.prepare(&options) {
            Ok((server, config, properties)) => {
                run("sub", self.subscribe(server, config, properties))
            }
            Err(why) => exit_code("sub", Err(Failure::Usage(why))),
        }
    }

    /// Where to, CONNECT, and the properties of SUBSCRIBE.
    fn prepare(&self, options: &ClientOptions) -> Result<(Server, Config, PropertyBuffer), String> {
        if self.topic.is_empty() && self.unsubscribe.is_empty() {
            return Err("what to subscribe to? give it with -t".to_owned());
        }
        if self.hex && self.json {
            return Err("--hex and --json exclude each other".to_owned());
        }
        for filter in self.topic.iter().chain(&self.unsubscribe) {
            TopicFilter::parse(filter).map_err(|error| format!("{filter:?}: {error}"))?;
        }
        for filter in &self.filter_out {
            TopicFilter::plain(filter).map_err(|error| format!("{filter:?}: {error}"))?;
        }
        let only_in_5 = [
            (self.no_local, "--no-local"),
            (self.retain_as_published, "--retain-as-published"),
            (self.retain_handling.is_some(), "--retain-handling"),
        ];
        for (given, flag) in only_in_5 {
            options.needs_5(given, flag)?;
        }
        if !options
            .properties(Target::Publish, Target::Subscribe)?
            .is_empty()
        {
            return Err("-D publish: nothing is published here".to_owned());
        }
        let properties = options.properties(Target::Subscribe, Target::Subscribe)?;
        let config = Config {
            manual_acknowledgement: true,
            ..options.config(Target::Subscribe)?
        };
        Ok((options.server()?, config, properties))
    }

    async fn subscribe(
        self,
        server: Server,
        config: Config,
        properties: PropertyBuffer,
    ) -> Result<(), Failure> {
        let mut signals = Signals::take().map_err(cannot_start)?;
        let opening = async { open(&server, config).await.map(Some) };
        let interrupted = async {
            stopped(&mut signals).await;
            Ok(None)
        };
        let mut time_is_up = pin!(wait(self.wait));
        let late = async {
            (&mut time_is_up).await;
            let seconds = self.wait.unwrap_or_default();
            let why = format!("nobody has answered within {seconds} seconds");
            Err(Failure::Failed(why))
        };
        let Some((connection, mut events)) = or(or(opening, interrupted), late).await? else {
            return Ok(());
        };
        let mut written = 0;
        let stop = {
            let filters = self.filters();
            let mut asking = pin!(self.ask(&connection, filters, properties));
            let mut asked = false;
            loop {
                if self.count.is_some_and(|count| written >= count) {
                    break Stop::Done;
                }
                let answered = async {
                    if asked {
                        core::future::pending().await
                    } else {
                        Turn::Answered((&mut asking).await)
                    }
                };
                let came = async { Turn::Came(events.next().await) };
                let late = async {
                    (&mut time_is_up).await;
                    Turn::Late
                };
                let interrupted = async {
                    stopped(&mut signals).await;
                    Turn::Interrupted
                };
                match or(or(interrupted, answered), or(came, late)).await {
                    Turn::Answered(Ok(())) if self.topic.is_empty() => break Stop::Done,
                    Turn::Answered(Ok(())) => asked = true,
                    Turn::Answered(Err(Unanswered::Refused(why))) => {
                        break Stop::Ended(Failure::Failed(why));
                    }
                    Turn::Answered(Err(Unanswered::Request(error))) => {
                        break Stop::Ended(explain(error, &mut events).await);
                    }
                    Turn::Came(event) => match self.take(&connection, event).await {
                        Ok(messages) => written += messages,
                        Err(stop) => break stop,
                    },
                    Turn::Late => break self.out_of_time(written),
                    Turn::Interrupted => break Stop::Done,
                }
            }
        };
        self.finish(stop, &connection, &mut events).await
    }

    async fn finish(
        &self,
        stop: Stop,
        connection: &Connection,
        events: &mut Events,
    ) -> Result<(), Failure> {
        connection.disconnect(events).await;
        match stop {
            Stop::Done | Stop::NobodyReads => Ok(()),
            Stop::Ended(failure) => Err(failure),
        }
    }

    fn filters(&self) -> Vec<(String, SubscribeOptions)> {
        let options = SubscribeOptions {
            maximum_qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling.unwrap_or_default(),
        };
        let filters = self.topic.iter().cloned();
        filters.map(|filter| (filter, options)).collect()
    }

    /// Gives up and makes the subscriptions. Messages may arrive before the answer.
    async fn ask(
        &self,
        connection: &Connection,
        filters: Vec<(String, SubscribeOptions)>,
        properties: PropertyBuffer,
    ) -> Result<(), Unanswered> {
        if !self.unsubscribe.is_empty() {
            let given_up = connection.unsubscribe(self.unsubscribe.clone()).await?;
            complain_about(&self.unsubscribe, &given_up, "unsubscribe from");
        }
        if filters.is_empty() {
            return Ok(());
        }
        let granted = connection.subscribe(filters, properties).await?;
        if let (true, Some(reason)) = (
            granted.iter().all(|reason| reason.is_error()),
            granted.first(),
        ) {
            let filters = self.topic.join(", ");
            return Err(Unanswered::Refused(refused(
                "subscribe to",
                &filters,
                *reason,
            )));
        }
        complain_about(&self.topic, &granted, "subscribe to");
        Ok(())
    }

    /// Writes a message, and then acknowledges it. Gives how many were written.
    async fn take(&self, connection: &Connection, event: Option<Event>) -> Result<u64, Stop> {
        let (message, packet_id) = match event {
            Some(Event::Message { message, packet_id }) => (message, packet_id),
            Some(Event::Ended(ended)) => {
                return Err(Stop::Ended(Failure::Failed(in_words(&ended))));
            }
            None => return Err(Stop::Ended(Failure::failed("the connection ended"))),
        };
        let wanted = self.wants(&message);
        if wanted {
            self.write(&message)?;
        }
        if let Some(packet_id) = packet_id {
            // Should the connection have ended, the next event says so.
            let _ = connection.acknowledge(packet_id).await;
        }
        Ok(u64::from(wanted))
    }

    fn wants(&self, message: &Message) -> bool {
        let Ok(topic) = TopicName::new(&message.topic) else {
            return true;
        };
        let left_out = self
            .filter_out
            .iter()
            .any(|filter| TopicFilter::plain(filter).is_ok_and(|filter| filter.matches(topic)));
        let is_stale = self.no_retained && message.retain;
        !left_out && !is_stale
    }

    fn write(&self, message: &Message) -> Result<(), Stop> {
        let format = match (self.hex, self.json) {
            (true, _) => Format::Hex,
            (false, true) => Format::Json,
            (false, false) => Format::Plain,
        };
        let mut line = Vec::new();
        format.write(message, self.verbose, &mut line);
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&line).and_then(|()| stdout.flush());
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Stop::NobodyReads
            } else {
                Stop::Ended(Failure::Failed(format!("cannot write: {error}")))
            }
        })
    }

    fn out_of_time(&self, written: u64) -> Stop {
        match (self.count, self.wait) {
            (Some(count), Some(seconds)) => Stop::Ended(Failure::Failed(format!(
                "{written} of {count} messages came within {seconds} seconds"
            ))),
            (Some(_) | None, _) => Stop::Done,
        }
    }
}

/// Why there are no subscriptions.
enum Unanswered {
    Request(RequestError),
    Refused(String),
}

impl From<RequestError> for Unanswered {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

fn complain_about(filters: &[String], reasons: &[ReasonCode], what: &str) {
    for (filter, reason) in filters.iter().zip(reasons) {
        if reason.is_error() {
            complain(&refused(what, filter, *reason));
        }
    }
}

fn refused(what: &str, filters: &str, reason: ReasonCode) -> String {
    format!("the server refused to {what} {filters}: {reason}")
}

async fn wait(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => sleep(Duration::from_secs(seconds)).await,
        None => core::future::pending().await,
    }
}

/// Somebody wants this program to end.
async fn stopped(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Signal::Stop(_) => return,
            // Its terminal has gone.
            #[cfg(unix)]
            Signal::Reload => return,
            #[cfg(unix)]
            Signal::Report => {}
        }
    }
}
