//! Who may do what: asked here and nowhere else.

pub mod identity;
pub mod rule;

use crate::topic::name::TopicName;

/// Whether a client may publish to this topic, be it by PUBLISH or by its will.
pub(crate) fn may_publish(topic: TopicName<'_>) -> bool {
    let text = topic.as_str();
    !(text == "$SYS" || text.starts_with("$SYS/"))
}
