//! Who may do what: asked here and nowhere else.
//!
//! Rules that people write come with the access-control work; until then everything is allowed but
//! what would let a client forge the broker's own topics.

use crate::topic::name::TopicName;

/// Whether a client may publish to this topic, be it by PUBLISH or by its will.
pub(crate) fn may_publish(topic: TopicName<'_>) -> bool {
    let text = topic.as_str();
    !(text == "$SYS" || text.starts_with("$SYS/"))
}
