//! What bytes travel over: raw pipes, which move bytes and know nothing of what they mean.

mod pipe;

pub(crate) use pipe::Pipe;
