//! Topic names, topic filters, and the index from filters to subscribers.
