//! `whimbrel pub`: publishes what it is given, and ends when the server has it.

use crate::client_failure::{Failure, ended, exit_code, explain, open, run};
use crate::client_options::{ClientOptions, Server, with_client_options};
use crate::client_property::Target;
use crate::input::read_line;
use crate::runtime::client::{Acknowledgement, Config, Connection, Message, RequestError};
use crate::runtime::or;
use argh::{ArgsInfo, FromArgs};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::topic::TopicName;

/// Lines that are read ahead, and messages whose acknowledgement is waited for later.
const AHEAD: usize = 1_000;

with_client_options! {
    /// Publish a message, or one for each line of the standard input.
    #[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
    #[argh(
        subcommand,
        name = "pub",
        help_triggers("--help"),
        example = "{command_name} -t lamp -m on -r",
        example = "{command_name} -h broker.example -u me -q 1 -t log -l < lines",
        error_code(0, "the server has everything; at QoS 0: everything was sent"),
        error_code(1, "no connection, refused, or lost; the message says what to do"),
        error_code(2, "what was typed is wrong")
    )]
    pub(crate) struct Publish {
        /// where to publish
        #[argh(option, short = 't', arg_name = "topic")]
        pub(crate) topic: String,
        /// the message
        #[argh(option, short = 'm', arg_name = "text")]
        pub(crate) message: Option<String>,
        /// the message is what is in this file; - is the standard input
        #[argh(option, short = 'f', arg_name = "file")]
        pub(crate) file: Option<PathBuf>,
        /// each line of the standard input is a message
        #[argh(switch, short = 'l')]
        pub(crate) lines: bool,
        /// the message is all of the standard input
        #[argh(switch, short = 's')]
        pub(crate) stdin: bool,
        /// the message is empty; with -r that removes what the server keeps
        #[argh(switch, short = 'n')]
        pub(crate) null: bool,
        /// the server keeps the message for later subscribers
        #[argh(switch, short = 'r')]
        pub(crate) retain: bool,
    }
}

/// What is published.
#[derive(Debug)]
enum Source {
    Whole(Vec<u8>),
    Lines,
}

impl Publish {
    /// Does it.
    pub(crate) fn run(mut self) -> ExitCode {
        let options = self.client_options();
        match self.prepare(&options) {
            Ok((server, config, template)) => run("pub", self.publish(server, config, template)),
            Err(failure) => exit_code("pub", Err(failure)),
        }
    }

    /// Where to, CONNECT, and the message without its payload.
    fn prepare(&self, options: &ClientOptions) -> Result<(Server, Config, Message), Failure> {
        let sources = [
            self.message.is_some(),
            self.file.is_some(),
            self.lines,
            self.stdin,
            self.null,
        ];
        if sources.into_iter().filter(|given| *given).count() != 1 {
            let why = "what to publish? give one of -m, -f, -l, -s, -n";
            return Err(Failure::Usage(why.to_owned()));
        }
        TopicName::new(&self.topic)
            .map_err(|error| Failure::Usage(format!("{:?}: {error}", self.topic)))?;
        let properties = options.properties(Target::Publish, Target::Publish);
        let template = Message {
            topic: self.topic.clone(),
            payload: Vec::new(),
            qos: self.qos,
            retain: self.retain,
            properties: properties.map_err(Failure::Usage)?,
        };
        let subscribe = options.properties(Target::Subscribe, Target::Publish);
        if !subscribe.is_ok_and(|properties| properties.is_empty()) {
            let why = "-D subscribe: nothing is subscribed to here";
            return Err(Failure::Usage(why.to_owned()));
        }
        let config = options.config(Target::Publish).map_err(Failure::Usage)?;
        let server = options.server().map_err(Failure::Usage)?;
        Ok((server, config, template))
    }

    fn source(&self) -> Result<Source, Failure> {
        if self.lines {
            return Ok(Source::Lines);
        }
        let payload = match (&self.message, &self.file) {
            (Some(message), _) => Ok(message.clone().into_bytes()),
            (None, Some(path)) if path != Path::new("-") => {
                let file = File::open(path).map_err(|error| {
                    Failure::Usage(format!("cannot read {}: {error}", path.display()))
                })?;
                read_all(file, &path.display().to_string())
            }
            (None, None) if self.null => Ok(Vec::new()),
            (None, _) => read_all(io::stdin().lock(), "the standard input"),
        };
        payload.map(Source::Whole).map_err(Failure::Failed)
    }

    async fn publish(
        self,
        server: Server,
        config: Config,
        template: Message,
    ) -> Result<(), Failure> {
        // What cannot be read is no reason to connect.
        let source = self.source()?;
        let (connection, mut events) = open(&server, config).await?;
        let publishing = async {
            match source {
                Source::Whole(payload) => publish_whole(&connection, payload, template).await,
                Source::Lines => publish_lines(&connection, template).await,
            }
        };
        match or(publishing, async {
            Err(Unpublished::Ended(ended(&mut events).await))
        })
        .await
        {
            Err(Unpublished::Ended(failure)) => Err(failure),
            Ok(()) => {
                connection.disconnect(&mut events).await;
                Ok(())
            }
            Err(Unpublished::Request(error)) => Err(explain(error, &mut events).await),
            Err(Unpublished::Failed(why)) => {
                connection.disconnect(&mut events).await;
                Err(Failure::Failed(why))
            }
        }
    }
}

/// No packet has more bytes.
const PAYLOAD_BYTES_MAXIMUM: u64 = 268_435_455;

fn read_all(from: impl Read, called: &str) -> Result<Vec<u8>, String> {
    let mut payload = Vec::new();
    let most = PAYLOAD_BYTES_MAXIMUM + 1;
    from.take(most)
        .read_to_end(&mut payload)
        .map_err(|error| format!("cannot read {called}: {error}"))?;
    if payload.len() as u64 == most {
        return Err(format!(
            "{called} is too large: MQTT has no packets above 256 MiB"
        ));
    }
    Ok(payload)
}

/// Why something was not published.
enum Unpublished {
    Request(RequestError),
    Failed(String),
    Ended(Failure),
}

impl Unpublished {
    /// Says which line it is that was not published.
    fn of_line(self, number: u64) -> Self {
        let why = match self {
            Self::Request(RequestError::Misuse(misuse)) => misuse.to_string(),
            Self::Failed(why) => why,
            Self::Request(RequestError::Ended) | Self::Ended(_) => return self,
        };
        Self::Failed(format!(
            "line {number}: {why}; lines behind it may have been published"
        ))
    }
}

impl From<RequestError> for Unpublished {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

async fn publish_whole(
    connection: &Connection,
    payload: Vec<u8>,
    template: Message,
) -> Result<(), Unpublished> {
    let message = Message {
        payload,
        ..template
    };
    let taken = connection.publish(message).await?;
    accepted(taken).await
}

/// The server has it, or has refused it.
async fn accepted(taken: Acknowledgement) -> Result<(), Unpublished> {
    let reason = taken.wait().await?;
    if reason.is_error() {
        let why = format!("the server did not take the message: {reason}");
        return Err(Unpublished::Failed(why));
    }
    Ok(())
}

/// Publishes line by line, without waiting for one acknowledgement after the other.
async fn publish_lines(connection: &Connection, template: Message) -> Result<(), Unpublished> {
    let lines = read_lines();
    let mut open = VecDeque::new();
    let mut taken_count = 0_u64;
    loop {
        let mut ahead = 0;
        if let Ok(line) = lines.recv().await {
            ahead = AHEAD;
            let payload = line.map_err(|error| {
                Unpublished::Failed(format!("cannot read the standard input: {error}"))
            })?;
            let message = Message {
                payload,
                ..template.clone()
            };
            open.push_back(connection.publish(message).await?);
        }
        while open.len() > ahead
            && let Some(oldest) = open.pop_front()
        {
            taken_count += 1;
            let taken = accepted(oldest).await;
            taken.map_err(|why| why.of_line(taken_count))?;
        }
        if ahead == 0 {
            return Ok(());
        }
    }
}

/// Reads on a thread of its own, which a terminal may keep waiting for ever. A line that is longer
/// than any packet is cut to what is still too long, and is the last.
fn read_lines() -> async_channel::Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = async_channel::bounded(AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut line = read_line(PAYLOAD_BYTES_MAXIMUM + 1);
            let mut is_last = true;
            if let Ok(line) = &mut line {
                if line.is_empty() {
                    return;
                }
                is_last = line.len() as u64 > PAYLOAD_BYTES_MAXIMUM;
                line.pop_if(|end| *end == b'\n');
            }
            if sender.send_blocking(line).is_err() || is_last {
                return;
            }
        }
    });
    lines
}
