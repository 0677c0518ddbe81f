//! A stream with layers on it: moves what [`Layers`] makes of bytes.

use crate::layers::{Fault, Layers};
use core::net::SocketAddr;
use std::io::{self, ErrorKind, Read, Write};

/// What is encrypted and framed at once, at most, and so what a connection that takes no bytes
/// holds of it.
const SEALED_BYTES: usize = 16 << 10;

/// Reads without a byte of MQTT before the others are served: a peer may send nothing but pings.
const READS_MAXIMUM: usize = 8;

/// What is spoken on a stream below MQTT, and what of it is on its way.
///
/// The stream itself is lent to each call: one that says [`WouldBlock`](ErrorKind::WouldBlock)
/// where it would have to wait. Calls say the same then, and are to be made again when the stream
/// is ready.
pub struct Layered {
    layers: Layers,
    /// Of MQTT, not yet taken; mostly empty.
    arrived: Vec<u8>,
    taken: usize,
    /// For the wire, not yet written; mostly empty.
    sealed: Vec<u8>,
    written: usize,
    has_said_goodbye: bool,
    /// The peer sends no more, or should not have sent what it did.
    ended: Option<Result<(), Fault>>,
}

impl Layered {
    /// `sealed` is what has to be sent first.
    #[must_use]
    pub const fn new(layers: Layers, sealed: Vec<u8>) -> Self {
        Self {
            layers,
            arrived: Vec::new(),
            taken: 0,
            sealed,
            written: 0,
            has_said_goodbye: false,
            ended: None,
        }
    }

    /// Who it is, once that is known; told once.
    pub fn introduce(&mut self) -> Option<whimbrel_core::Peer> {
        self.layers.introduce()
    }

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    #[must_use]
    pub fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        let fault = self.ended.as_ref()?.as_ref().err()?;
        Some((self.layers.address(), fault))
    }

    /// Goes on until all handshakes are done: as a client, which speaks first.
    ///
    /// # Errors
    ///
    /// They failed, or the stream has.
    pub fn open(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        while !self.layers.is_open() {
            match &self.ended {
                None => self.read_wire(stream, &mut buffer)?,
                Some(Ok(())) => return Err(ErrorKind::UnexpectedEof.into()),
                Some(Err(fault)) => return Err(io::Error::other(fault.clone())),
            }
        }
        self.write_sealed(stream)
    }

    /// Reads MQTT; 0 bytes are the end. What a peer does wrong below is the end, as if it had
    /// closed; see [`fault`](Self::fault).
    ///
    /// # Errors
    ///
    /// The stream has failed. [`Interrupted`](ErrorKind::Interrupted) where the peer has sent much
    /// that is no MQTT: others are to be served before this is called again.
    pub fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        if self.has_said_goodbye {
            // Nothing is understood any more; only that the peer is still there.
            return stream.read(buffer);
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut reads = 0;
        loop {
            if self.taken < self.arrived.len() {
                return Ok(self.deliver(buffer));
            }
            if self.ended.is_some() {
                return Ok(0);
            }
            if reads == READS_MAXIMUM {
                return Err(ErrorKind::Interrupted.into());
            }
            reads += 1;
            // The room for MQTT is lent for the wire before, which never says less.
            self.read_wire(stream, buffer)?;
        }
    }

    /// Whether [`read`](Self::read) says something at once, also when the stream does not: there is
    /// more, or the end was told by a layer.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        !self.has_said_goodbye && (self.taken < self.arrived.len() || self.ended.is_some())
    }

    /// Whether [`flush`](Self::flush) has something to do.
    #[must_use]
    pub const fn is_unflushed(&self) -> bool {
        self.written < self.sealed.len()
    }

    /// Takes some of `bytes`: how much. What the stream does not take of it is for
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// The stream has failed, or does not take what it was given before.
    pub fn write(&mut self, stream: &mut (impl Read + Write), bytes: &[u8]) -> io::Result<usize> {
        self.write_sealed(stream)?;
        let count = bytes.len().min(SEALED_BYTES);
        self.layers
            .send(&bytes[..count], &mut self.sealed)
            .map_err(io::Error::other)?;
        self.write_some(stream)?;
        Ok(count)
    }

    /// Gives the stream what is left for it.
    ///
    /// # Errors
    ///
    /// It has failed, or does not take it yet.
    pub fn flush(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        self.write_sealed(stream)?;
        stream.flush()
    }

    /// Says that no more will be sent. Afterwards the stream may be shut down.
    ///
    /// # Errors
    ///
    /// The stream has failed, or does not take it yet.
    pub fn goodbye(&mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        if !core::mem::replace(&mut self.has_said_goodbye, true) {
            self.layers.goodbye(&mut self.sealed);
        }
        self.write_sealed(stream)
    }

    /// Writes what is left for the wire.
    fn write_sealed(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while self.written < self.sealed.len() {
            match stream.write(&self.sealed[self.written..])? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
        }
        self.sealed = Vec::new();
        self.written = 0;
        Ok(())
    }

    /// Writes as much of it as goes at once: whether that was all.
    fn write_some(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        match self.write_sealed(stream) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads once, into a buffer that is only lent for it.
    fn read_wire(&mut self, stream: &mut (impl Read + Write), lent: &mut [u8]) -> io::Result<()> {
        // What is owed first; that the peer does not take it shows when there is more to write.
        self.write_some(stream)?;
        let count = stream.read(lent)?;
        if count == 0 {
            self.ended = Some(Ok(()));
            return Ok(());
        }
        let wire = &mut lent[..count];
        let received = self
            .layers
            .receive(wire, &mut self.arrived, &mut self.sealed);
        if received.is_err() || self.layers.has_ended() {
            self.ended = Some(received);
        }
        if self.write_some(stream)? {
            self.layers.answer_ping(&mut self.sealed);
            self.write_some(stream)?;
        }
        Ok(())
    }

    /// Hands out what has arrived: how much.
    fn deliver(&mut self, buffer: &mut [u8]) -> usize {
        let left = &self.arrived[self.taken..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        if self.taken == self.arrived.len() {
            self.arrived = Vec::new();
            self.taken = 0;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::Peer;

    /// Says one of these each time, the last first, and then no more.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.pop().unwrap_or_default();
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What was read last is told, whatever it is: nobody is told of it again.
    #[test]
    fn others_are_served_first_only_when_there_is_nothing_to_tell() {
        let header = b"PROXY UNKNOWN\r\n";
        for (last, told) in [(&b"\n\xC0"[..], Some(1)), (b"", Some(0)), (b"\n", None)] {
            let mut layers = Layers::of(Peer::default());
            layers.expect_proxy_header();
            let mut layered = Layered::new(layers, Vec::new());
            let cuts = [0, 2, 4, 6, 8, 10, 12, header.len() - 1];
            assert_eq!(cuts.len(), READS_MAXIMUM);
            let before = cuts.windows(2).map(|cut| &header[cut[0]..cut[1]]);
            let mut pieces: Vec<&[u8]> = before.chain([last]).collect();
            pieces.reverse();
            let read = layered.read(&mut Pieces(pieces), &mut [0; 64]);
            assert_eq!(read.ok(), told, "{last:?}");
            assert!(!layered.is_ready() || told == Some(0));
        }
    }
}
