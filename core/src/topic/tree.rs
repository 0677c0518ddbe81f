//! The tree of filters with wildcards, one node a level.
//!
//! ```text
//! a/+/c   a/b/#          (root) ── a ─┬─ + ── c      here = a/+/c
//! #                        │          └─ b           below = a/b/#
//!                        below = #
//! ```
//!
//! The nodes live in one slab and name each other by number. A `+` child stands in its parent; all
//! other children stand in one hash table under (parent, level), so a node with one child costs no
//! map of its own. The table is keyed with a seed, because peers choose the levels.
//!
//! Invariant: a node other than the root has a filter or a child.

use crate::topic::filter::TopicFilter;
use crate::topic::name::{Levels, TopicName};
use crate::topic::slab::{NONE, Slab};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

const ROOT: u32 = 0;

/// A keyed hash: nobody who does not know the seed can choose texts that collide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher {
    text: SipHasher13,
    /// Odd, secret: spreads the parents of equal levels.
    factor: u64,
}

impl Hasher {
    pub(super) fn new(seed: u64) -> Self {
        let keys = SipHasher13::new_with_keys(seed, !seed);
        let key = |name: &[u8]| keys.hash(name);
        Self {
            text: SipHasher13::new_with_keys(key(b"text 0"), key(b"text 1")),
            factor: key(b"factor") | 1,
        }
    }

    pub(super) fn text(&self, text: &str) -> u64 {
        self.text.hash(text.as_bytes())
    }

    /// The hash of a child. A level is hashed once, however many nodes of one depth are visited.
    const fn child(&self, parent: u32, level: u64) -> u64 {
        (level ^ (parent as u64).wrapping_mul(self.factor)).wrapping_mul(self.factor)
    }
}

/// A hash table of numbers of rows; the rows hold the keys.
///
/// 32 bits of the hash stand beside the number, so that most probes and all growing touch no row.
#[derive(Debug, Default)]
pub(super) struct Links(HashTable<Link>);

#[derive(Clone, Copy, Debug)]
struct Link {
    hash: u32,
    id: u32,
}

impl Link {
    const fn spread(&self) -> u64 {
        (self.hash as u64) << 32 | self.hash as u64
    }
}

impl Links {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The upper half of a product is the better one.
    const fn link(hash: u64, id: u32) -> Link {
        Link {
            hash: (hash >> 32) as u32,
            id,
        }
    }

    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = Self::link(hash, NONE);
        let same = |link: &Link| link.hash == wanted.hash && is_it(link.id);
        Some(self.0.find(wanted.spread(), same)?.id)
    }

    /// The caller has looked: the key is new.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let link = Self::link(hash, id);
        self.0.insert_unique(link.spread(), link, Link::spread);
    }

    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let link = Self::link(hash, id);
        if let Ok(entry) = self.0.find_entry(link.spread(), |other| other.id == id) {
            entry.remove();
        }
        if self.0.len() < self.0.capacity() / 8 && self.0.capacity() > 64 {
            self.0.shrink_to(self.0.len() * 2, Link::spread);
        }
    }
}

/// The text of one level in 16 bytes; most levels need no allocation.
#[derive(Debug)]
enum LevelText {
    Short {
        len: u8,
        bytes: [u8; Self::SHORT_MAX],
    },
    /// A thin pointer: a wide one would need eight bytes more in every node.
    Long(Box<Box<str>>),
}

impl LevelText {
    const SHORT_MAX: usize = 14;

    fn new(level: &str) -> Self {
        match u8::try_from(level.len()) {
            Ok(len) if level.len() <= Self::SHORT_MAX => {
                let mut bytes = [0; Self::SHORT_MAX];
                bytes[..level.len()].copy_from_slice(level.as_bytes());
                Self::Short { len, bytes }
            }
            _ => Self::Long(Box::new(level.into())),
        }
    }

    /// What it takes beside itself.
    fn taken(&self) -> usize {
        const BOXES: usize = 48;
        match self {
            Self::Short { .. } => 0,
            Self::Long(text) => text.len() + BOXES,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("levels are cut from a str")
    }
}

#[derive(Debug)]
struct Node {
    level: LevelText,
    parent: u32,
    /// The filter that ends with this level.
    here: u32,
    /// The filter that ends with `#` below this level.
    below: u32,
    /// The `+` child.
    plus: u32,
    /// How many other children stand in the hash table.
    literal_children: u32,
}

impl Node {
    fn new(level: &str, parent: u32) -> Self {
        Self {
            level: LevelText::new(level),
            parent,
            here: NONE,
            below: NONE,
            plus: NONE,
            literal_children: 0,
        }
    }

    const fn is_unused(&self) -> bool {
        self.here == NONE && self.below == NONE && self.plus == NONE && self.literal_children == 0
    }
}

/// Where a filter stands: at a node, or as `#` below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    node: u32,
    below: bool,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: Slab<Node>,
    children: Links,
    hasher: Hasher,
    /// Of levels that do not fit into their nodes.
    text_bytes: usize,
}

impl Tree {
    pub(super) fn new(hasher: Hasher) -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::new("", NONE));
        debug_assert_eq!(root, ROOT, "the first row of an empty slab");
        Self {
            nodes,
            children: Links::default(),
            hasher,
            text_bytes: 0,
        }
    }

    /// Without the root.
    pub(super) const fn node_count(&self) -> usize {
        self.nodes.len() - 1
    }

    /// What the levels take that do not fit into their nodes.
    pub(super) const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Those in the hash table.
    pub(super) fn edge_count(&self) -> usize {
        self.children.len()
    }

    /// The filter that stands in the tree under this text.
    pub(super) fn get(&self, filter: TopicFilter<'_>) -> Option<u32> {
        let mut node = ROOT;
        for level in filter.levels() {
            if level == "#" {
                return Some(self.nodes.at(node).below).filter(|&id| id != NONE);
            }
            node = self.child(node, level)?;
        }
        Some(self.nodes.at(node).here).filter(|&id| id != NONE)
    }

    /// Puts a new filter in.
    pub(super) fn insert(&mut self, filter: TopicFilter<'_>, id: u32) -> Position {
        let mut node = ROOT;
        let mut below = false;
        for level in filter.levels() {
            if level == "#" {
                below = true;
                break;
            }
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            };
        }
        let end = self.nodes.at_mut(node);
        let place = if below { &mut end.below } else { &mut end.here };
        debug_assert_eq!(*place, NONE, "the caller has looked");
        *place = id;
        Position { node, below }
    }

    /// Takes a filter out, and with it the nodes that nothing else needs.
    pub(super) fn remove(&mut self, position: Position) {
        let end = self.nodes.at_mut(position.node);
        if position.below {
            end.below = NONE;
        } else {
            end.here = NONE;
        }
        let mut id = position.node;
        while id != ROOT && self.nodes.at(id).is_unused() {
            let Some(node) = self.nodes.remove(id) else {
                break;
            };
            self.text_bytes -= node.level.taken();
            let parent = self.nodes.at_mut(node.parent);
            if parent.plus == id {
                parent.plus = NONE;
            } else {
                parent.literal_children -= 1;
                let level = self.hasher.text(node.level.as_str());
                let hash = self.hasher.child(node.parent, level);
                self.children.remove(hash, id);
            }
            id = node.parent;
        }
        if self.nodes.at(ROOT).is_unused() {
            *self = Self::new(self.hasher); // gives back the room of a tree that once was big
        }
    }

    /// Appends the text of the filter that stands here.
    pub(super) fn write(&self, position: Position, out: &mut String) {
        let mut path = Vec::new();
        let mut id = position.node;
        while id != ROOT {
            path.push(id);
            id = self.nodes.at(id).parent;
        }
        for (index, &id) in path.iter().rev().enumerate() {
            if index > 0 {
                out.push('/');
            }
            out.push_str(self.nodes.at(id).level.as_str());
        }
        if position.below {
            out.push_str(if path.is_empty() { "#" } else { "/#" });
        }
    }

    /// Calls `found` with every filter that matches. As many steps as there are nodes whose path
    /// matches a beginning of the name; the stack is no deeper than the name, and not the thread's.
    pub(super) fn walk(&self, name: TopicName<'_>, walk: &mut Walk, mut found: impl FnMut(u32)) {
        if self.nodes.at(ROOT).is_unused() {
            return;
        }
        walk.steps.clear();
        walk.levels.clear();
        walk.steps.push(Step {
            node: ROOT,
            depth: 0,
        });
        let mut levels = name.levels();
        while let Some(Step { node: id, depth }) = walk.steps.pop() {
            walk.visited += 1;
            let node = self.nodes.at(id);
            let wildcards = id != ROOT || !name.is_dollar();
            if wildcards && node.below != NONE {
                found(node.below);
            }
            let Some(level) = walk.level(depth, &mut levels, &self.hasher) else {
                if node.here != NONE {
                    found(node.here);
                }
                continue;
            };
            let depth = depth + 1;
            if node.literal_children > 0 {
                let text = &name.as_str().as_bytes()[level.start as usize..level.end as usize];
                if let Some(node) = self.literal_child(id, text, level.hash) {
                    walk.steps.push(Step { node, depth });
                }
            }
            if wildcards && node.plus != NONE {
                walk.steps.push(Step {
                    node: node.plus,
                    depth,
                });
            }
        }
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let node = self.nodes.at(parent);
        if level == "+" {
            return Some(node.plus).filter(|&id| id != NONE);
        }
        if node.literal_children == 0 {
            return None;
        }
        self.literal_child(parent, level.as_bytes(), self.hasher.text(level))
    }

    fn literal_child(&self, parent: u32, level: &[u8], hash: u64) -> Option<u32> {
        self.children.find(self.hasher.child(parent, hash), |id| {
            let node = self.nodes.at(id);
            node.parent == parent && node.level.as_bytes() == level
        })
    }

    fn add_child(&mut self, parent: u32, level: &str) -> u32 {
        let child = Node::new(level, parent);
        self.text_bytes += child.level.taken();
        let id = self.nodes.insert(child);
        let node = self.nodes.at_mut(parent);
        if level == "+" {
            node.plus = id;
        } else {
            node.literal_children += 1;
            let hash = self.hasher.child(parent, self.hasher.text(level));
            self.children.insert(hash, id);
        }
        id
    }
}

/// What a walk remembers, kept between walks so that they allocate nothing.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Nodes to look at; at most one more than levels.
    steps: Vec<Step>,
    /// The levels of the name that the walk has reached.
    levels: Vec<HashedLevel>,
    /// How many nodes were looked at, in all walks since somebody asked.
    pub(super) visited: u32,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    node: u32,
    /// How many levels of the name lead to the node.
    depth: u32,
}

#[derive(Clone, Copy, Debug)]
struct HashedLevel {
    start: u32,
    end: u32,
    hash: u64,
}

impl Walk {
    /// The level at this depth, found and hashed when the first step gets there. A walk reaches a
    /// depth only after the one before, so the next level is always the next of the iterator.
    fn level(
        &mut self,
        depth: u32,
        levels: &mut Levels<'_>,
        hasher: &Hasher,
    ) -> Option<HashedLevel> {
        if let Some(&known) = self.levels.get(depth as usize) {
            return Some(known);
        }
        let text = levels.next()?;
        // A name has at most 65,535 bytes.
        let start = self.levels.last().map_or(0, |before| before.end + 1);
        let level = HashedLevel {
            start,
            end: start + text.len() as u32,
            hash: hasher.text(text),
        };
        self.levels.push(level);
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_small_as_promised() {
        assert_eq!(size_of::<LevelText>(), 16);
        assert_eq!(size_of::<Node>(), 40);
        assert_eq!(size_of::<Option<Node>>(), 40);
    }

    #[test]
    fn removing_a_filter_prunes_to_the_next_fork() {
        let mut tree = Tree::new(Hasher::new(7));
        let filter = |text| TopicFilter::plain(text).unwrap();
        let long = "a/+/a level of more than fourteen bytes/d";
        let kept = tree.insert(filter("a/+"), 1);
        let position = tree.insert(filter(long), 2);
        assert_eq!((tree.node_count(), tree.edge_count()), (4, 3));
        let mut text = String::new();
        tree.write(position, &mut text);
        assert_eq!(text, long);
        tree.remove(position);
        assert_eq!((tree.node_count(), tree.edge_count()), (2, 1));
        assert_eq!(tree.get(filter("a/+")), Some(1));
        tree.remove(kept);
        assert_eq!((tree.node_count(), tree.edge_count()), (0, 0));
    }

    /// Whoever knows the hash but not the seed chooses levels that collide, and they do not, below
    /// any parent.
    #[test]
    fn class_18_levels_chosen_to_collide_are_spread_by_the_seed() {
        let place = |seed, parent, level: &str| {
            let hasher = Hasher::new(seed);
            hasher.child(parent, hasher.text(level)) >> 56
        };
        let levels = (0..40_000).map(|number| alloc::format!("level-{number}"));
        let chosen: Vec<_> = levels.filter(|level| place(1, 7, level) == 0).collect();
        assert!(chosen.len() > 100);
        for parent in [ROOT, 7] {
            let places = chosen.iter().map(|level| place(2, parent, level));
            let places: alloc::collections::BTreeSet<u64> = places.collect();
            assert!(places.len() > 50, "{}", places.len());
        }
    }
}
