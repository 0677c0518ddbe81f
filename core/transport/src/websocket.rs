//! WebSocket as a layer: one stream of bytes out of binary frames, in whatever way MQTT packets are
//! split over them. Nothing of a frame is kept but its header: payload goes on as it comes, so
//! neither long frames nor many small ones cost memory.
//!
//! ```text
//! Opening --head--> Header --header--> Payload --last byte--> Header
//!                      \--ping, pong, close--> Control --last byte--> Header or closed
//! ```

mod handshake;

pub(crate) use handshake::{Accept, Dial, Rules};

use crate::layers::Fault;
use crate::proxy::Source;
use core::hash::BuildHasher;
use core::net::IpAddr;
use std::hash::RandomState;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Longer frames are refused: as long as the largest MQTT packet that the protocol has.
const FRAME_BYTES_MAXIMUM: u64 = (256 << 20) + 5;

/// What a control frame may carry, by the standard.
const CONTROL_BYTES_MAXIMUM: u64 = 125;

/// The longest header.
const HEADER_BYTES_MAXIMUM: usize = 14;

/// One WebSocket connection.
pub(crate) struct WebSocket {
    side: Side,
    state: State,
    /// Whether a message has begun that further frames continue.
    in_message: bool,
    /// The payload of the last ping that was not answered; those before it need no answer.
    ping: Option<Box<[u8]>>,
    has_said_goodbye: bool,
    has_ended: bool,
}

/// Who masks what it sends: the client.
enum Side {
    Client {
        /// Keys that nobody else knows, from which masks are made, and how many were.
        masks: RandomState,
        count: u64,
    },
    Server,
}

enum State {
    /// The HTTP head has not ended; what there is of it.
    Accepting(Box<Accept>),
    Dialling(Box<Dial>),
    /// Between frames, or in the header of one: what there is of it.
    Header(Part),
    Payload {
        left: u64,
        masking: Masking,
    },
    Control {
        opcode: Control,
        left: usize,
        masking: Masking,
        payload: Vec<u8>,
    },
}

/// The beginning of a frame's header.
#[derive(Default)]
struct Part {
    bytes: [u8; HEADER_BYTES_MAXIMUM],
    length: usize,
}

/// Where in the mask the next byte is.
#[derive(Clone, Copy)]
struct Masking {
    mask: [u8; 4],
    at: usize,
}

impl Masking {
    fn apply(&mut self, bytes: &mut [u8]) {
        // One rotation, then whole words: compiles to wide instructions.
        self.mask.rotate_left(core::mem::take(&mut self.at));
        for chunk in bytes.chunks_mut(4) {
            for (byte, mask) in chunk.iter_mut().zip(self.mask) {
                *byte ^= mask;
            }
        }
        self.at = bytes.len() % 4;
    }
}

impl WebSocket {
    /// A server's end, which waits for a request that `accept` likes.
    pub(crate) fn server(accept: Accept) -> Self {
        Self::new(Side::Server, State::Accepting(Box::new(accept)))
    }

    /// A client's end; see [`start`](Self::start).
    pub(crate) fn client(dial: Dial) -> Self {
        let masks = RandomState::new();
        let side = Side::Client { masks, count: 0 };
        Self::new(side, State::Dialling(Box::new(dial)))
    }

    /// Appends a client's request, once everything below is ready for it.
    pub(crate) fn start(&self, wire: &mut Vec<u8>) {
        if let State::Dialling(dial) = &self.state {
            wire.extend_from_slice(dial.request().as_bytes());
        }
    }

    const fn new(side: Side, state: State) -> Self {
        Self {
            side,
            state,
            in_message: false,
            ping: None,
            has_said_goodbye: false,
            has_ended: false,
        }
    }

    /// Where the request comes from, as far as a PROXY header has told.
    pub(crate) fn set_peer(&mut self, peer: Option<IpAddr>) {
        if let State::Accepting(accept) = &mut self.state {
            accept.set_peer(peer);
        }
    }

    /// Whether the HTTP part is done.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Accepting(_) | State::Dialling(_))
    }

    /// Whether the peer sends no more.
    pub(crate) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes bytes from below; appends payload to `plain`, and what is to be answered to `answers`,
    /// also when it fails. A server gives whose request it is, when that becomes known.
    ///
    /// # Errors
    ///
    /// The peer's fault; nothing more can be received.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<Option<Source>, Fault> {
        let mut told = None;
        let mut at = 0;
        while at < bytes.len() && !self.has_ended {
            let rest = &mut bytes[at..];
            at += match &mut self.state {
                State::Accepting(accept) => {
                    let (used, accepted) = accept.receive(rest, answers)?;
                    if accepted.is_some() {
                        told = accepted;
                        self.state = State::Header(Part::default());
                    }
                    used
                }
                State::Dialling(dial) => {
                    let (used, is_done) = dial.receive(rest)?;
                    if is_done {
                        self.state = State::Header(Part::default());
                    }
                    used
                }
                State::Header(part) => {
                    let used = part.fill(rest);
                    match part.parse()? {
                        None => used,
                        Some((header, length, size)) => {
                            // What was taken beyond the header is payload.
                            let used = used - (part.length - size);
                            if let Err(fault) = self.begin_frame(&header, length) {
                                self.close(CloseCode::Protocol, answers);
                                return Err(fault);
                            }
                            used
                        }
                    }
                }
                State::Payload { left, masking } => {
                    let count =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    let payload = &mut rest[..count];
                    masking.apply(payload);
                    plain.extend_from_slice(payload);
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = State::Header(Part::default());
                    }
                    count
                }
                State::Control {
                    left,
                    masking,
                    payload,
                    ..
                } => {
                    let count = (*left).min(rest.len());
                    masking.apply(&mut rest[..count]);
                    payload.extend_from_slice(&rest[..count]);
                    *left -= count;
                    count
                }
            };
            self.end_of_control(answers);
        }
        Ok(told)
    }

    fn begin_frame(&mut self, header: &FrameHeader, length: u64) -> Result<(), Fault> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Fault::WebSocket("a frame has reserved bits"));
        }
        let masking = match (&self.side, header.mask) {
            (Side::Server, Some(mask)) => Masking { mask, at: 0 },
            (Side::Client { .. }, None) => Masking {
                mask: [0; 4],
                at: 0,
            },
            (Side::Server, None) => return Err(Fault::WebSocket("a frame is not masked")),
            (Side::Client { .. }, Some(_)) => return Err(Fault::WebSocket("a frame is masked")),
        };
        let in_message = match header.opcode {
            OpCode::Control(opcode) => {
                if !header.is_final || length > CONTROL_BYTES_MAXIMUM {
                    return Err(Fault::WebSocket("a control frame is too long or split"));
                }
                self.state = State::Control {
                    opcode,
                    left: length as usize,
                    masking,
                    payload: Vec::new(),
                };
                return Ok(());
            }
            OpCode::Data(Data::Continue) => true,
            OpCode::Data(Data::Binary) => false,
            OpCode::Data(Data::Text) => {
                // MQTT comes in binary frames. [MQTT-6.0.0-1]
                return Err(Fault::WebSocket("a frame is text, not binary"));
            }
            OpCode::Data(Data::Reserved(_)) => {
                return Err(Fault::WebSocket("a frame is of no known kind"));
            }
        };
        if in_message != self.in_message {
            return Err(Fault::WebSocket(
                "a message is begun or continued out of turn",
            ));
        }
        if length > FRAME_BYTES_MAXIMUM {
            return Err(Fault::TooLong("WebSocket frame"));
        }
        self.in_message = !header.is_final;
        self.state = if length == 0 {
            State::Header(Part::default())
        } else {
            State::Payload {
                left: length,
                masking,
            }
        };
        Ok(())
    }

    /// Heeds a control frame that is complete.
    fn end_of_control(&mut self, answers: &mut Vec<u8>) {
        let State::Control {
            opcode,
            left: 0,
            payload,
            ..
        } = &mut self.state
        else {
            return;
        };
        let payload = core::mem::take(payload);
        let opcode = *opcode;
        self.state = State::Header(Part::default());
        match opcode {
            Control::Ping => self.ping = Some(payload.into()),
            Control::Close => {
                self.has_ended = true;
                self.close(CloseCode::Normal, answers);
            }
            Control::Pong | Control::Reserved(_) => {}
        }
    }

    /// Answers the last ping. Called when everything before it has been written, so that a peer
    /// that pings and does not read makes nothing wait here.
    pub(crate) fn answer_ping(&mut self, wire: &mut Vec<u8>) {
        if let Some(payload) = self.ping.take()
            && !self.has_said_goodbye
        {
            self.frame(OpCode::Control(Control::Pong), &payload, wire);
        }
    }

    /// Makes one frame.
    ///
    /// # Errors
    ///
    /// The HTTP part is not done, or the end has been said.
    pub(crate) fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Fault> {
        if !self.is_open() || self.has_said_goodbye {
            return Err(Fault::NotOpen);
        }
        self.frame(OpCode::Data(Data::Binary), plain, wire);
        Ok(())
    }

    /// Says that no more will be sent.
    pub(crate) fn goodbye(&mut self, wire: &mut Vec<u8>) {
        self.close(CloseCode::Normal, wire);
    }

    fn close(&mut self, code: CloseCode, wire: &mut Vec<u8>) {
        if self.is_open() && !core::mem::replace(&mut self.has_said_goodbye, true) {
            let code = u16::from(code).to_be_bytes();
            self.frame(OpCode::Control(Control::Close), &code, wire);
        }
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8], wire: &mut Vec<u8>) {
        let mask = match &mut self.side {
            Side::Server => None,
            Side::Client { masks, count } => {
                *count += 1;
                let [a, b, c, d, ..] = masks.hash_one(*count).to_le_bytes();
                Some([a, b, c, d])
            }
        };
        let header = FrameHeader {
            is_final: true,
            opcode,
            mask,
            ..FrameHeader::default()
        };
        let formatted = header.format(payload.len() as u64, wire);
        debug_assert!(formatted.is_ok(), "a Vec takes everything");
        let begin = wire.len();
        wire.extend_from_slice(payload);
        if let Some(mask) = mask {
            Masking { mask, at: 0 }.apply(&mut wire[begin..]);
        }
    }
}

impl Part {
    /// Takes as much as a header can be; how much.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(HEADER_BYTES_MAXIMUM - self.length);
        self.bytes[self.length..][..count].copy_from_slice(&bytes[..count]);
        self.length += count;
        count
    }

    /// Header, length of the payload, and length of the header.
    fn parse(&self) -> Result<Option<(FrameHeader, u64, usize)>, Fault> {
        let mut cursor = Cursor::new(&self.bytes[..self.length]);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|_| Fault::WebSocket("a frame is of no known kind"))?;
        Ok(parsed.map(|(header, length)| (header, length, cursor.position() as usize)))
    }
}
