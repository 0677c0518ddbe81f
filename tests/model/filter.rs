//! The naive matcher.

/// Whether a filter matches a topic, level by level.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let filter = filter.strip_prefix("$share/g/").unwrap_or(filter);
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
