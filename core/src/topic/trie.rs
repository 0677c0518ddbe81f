//! The subscription index: filters to subscribers, insert, remove, match; no policy.
//!
//! Filters without wildcards stand in a hash table under their whole text, so that they cost one
//! probe however many there are; the others in a tree. Plain subscribers and shared groups of one
//! filter share its row but nothing else: no call for one kind can touch the other.
//!
//! Invariants: a filter has a row exactly while it has a subscriber or a group; a group exists
//! exactly while it has a member. Each filter stands once, so a match finds it once.

use crate::state::{Reader, State, Writer};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;
use crate::topic::shared::{GroupId, SharedGroup};
use crate::topic::slab::Slab;
use crate::topic::subscribers::SubscriberList;
pub use crate::topic::subscribers::{Subscriber, SubscriberKey, Subscription};
use crate::topic::tree::{Hasher, Links, Position, Tree, Walk};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Names a filter while it has subscribers, plain or shared. Numbers of filters that are gone are
/// used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(pub u32);

/// What a plain insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// The name of the filter, valid at least until this subscription is removed.
    pub filter: FilterId,
    /// What this subscriber had before.
    pub replaced: Option<Subscription>,
    /// The filter had no plain subscriber before.
    pub first: bool,
}

/// What a plain removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The name of the filter. It may name nothing any more.
    pub filter: FilterId,
    /// What was removed.
    pub subscription: Subscription,
    /// The filter has no plain subscriber left.
    pub last: bool,
}

/// What an insertion into a shared group did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsertedMember {
    /// The name of the filter.
    pub filter: FilterId,
    /// The name of the group, valid at least until this member is removed.
    pub group: GroupId,
    /// What this member had before.
    pub replaced: Option<Subscription>,
    /// The group did not exist before.
    pub first: bool,
    /// How many members the group has now.
    pub member_count: usize,
}

/// What a removal from a shared group did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedMember {
    /// The name of the filter. It may name nothing any more.
    pub filter: FilterId,
    /// The name of the group. It names nothing any more when the last member left.
    pub group: GroupId,
    /// What was removed.
    pub subscription: Subscription,
    /// The group is gone.
    pub last: bool,
    /// How many members the group has now.
    pub member_count: usize,
}

/// The result of a match, and the room that matching needs. Keep one and pass it again: once it has
/// grown, matching allocates nothing.
#[derive(Debug, Default)]
pub struct Matches {
    /// One for every plain subscription that matches; a key stands as often as it has filters that
    /// match.
    pub subscribers: Vec<Subscriber>,
    /// Every shared group whose filter matches, once.
    pub groups: Vec<GroupId>,
    walk: Walk,
}

impl Matches {
    /// Nothing found, nothing allocated.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How much had to be looked at in all matches since this was asked last: nodes of the tree of
    /// filters with wildcards. Filters can be chosen so that it is many, whatever is found.
    pub fn take_visited(&mut self) -> u32 {
        core::mem::take(&mut self.walk.visited)
    }

    /// Whether nobody wants it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.groups.is_empty()
    }
}

/// What the index consists of. All zero when nobody subscribes to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Plain subscriptions and group members.
    pub subscriptions: usize,
    /// Distinct filters.
    pub filters: usize,
    /// Filters found by their whole text.
    pub exact: usize,
    /// Shared groups.
    pub groups: usize,
    /// Levels in the tree of filters with wildcards.
    pub nodes: usize,
    /// Of these, the ones in the hash table.
    pub edges: usize,
}

/// From filters to subscribers. See the [module](self).
#[derive(Debug)]
pub struct Subscriptions {
    filters: Slab<FilterRow>,
    exact: Links,
    tree: Tree,
    groups: Slab<SharedGroup>,
    hasher: Hasher,
    subscription_count: usize,
    generation: u64,
    /// Of filters without wildcards, and of share names.
    text_bytes: usize,
}

#[derive(Debug)]
struct FilterRow {
    place: Place,
    subscribers: SubscriberList,
    shared: Option<Box<GroupList>>,
}

/// What a row is saved as: its text says where it stands.
impl State for FilterRow {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            place: _,
            subscribers,
            shared,
        } = self;
        let mut all = Vec::new();
        subscribers.append_to(&mut all);
        all.save(to);
        shared.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut subscribers = SubscriberList::default();
        for one in Vec::<Subscriber>::load(from)? {
            subscribers.insert(one.key, one.subscription);
        }
        Some(Self {
            place: Place::Exact(Box::default()),
            subscribers,
            shared: State::load(from)?,
        })
    }
}

#[derive(Debug)]
enum Place {
    Exact(Box<str>),
    Tree(Position),
}

/// The groups of one filter, ordered by share name.
#[derive(Debug, Default)]
struct GroupList {
    ids: Vec<u32>,
}

crate::state::state!(GroupList { ids });

impl FilterRow {
    fn groups(&self) -> &[u32] {
        self.shared.as_ref().map_or(&[], |shared| &shared.ids)
    }
}

impl Subscriptions {
    /// An empty index. The seed keeps peers from choosing texts that collide in its hash tables;
    /// results and their order do not depend on it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = Hasher::new(seed);
        Self {
            filters: Slab::new(),
            exact: Links::default(),
            tree: Tree::new(hasher),
            groups: Slab::new(),
            hasher,
            subscription_count: 0,
            generation: 0,
            text_bytes: 0,
        }
    }

    pub(crate) fn save(&self, to: &mut Writer<'_>) {
        let Self {
            filters,
            exact: _,
            tree: _,
            groups,
            hasher: _,
            subscription_count,
            generation,
            text_bytes: _,
        } = self;
        filters.save(to);
        for (id, row) in filters.iter() {
            let mut text = String::new();
            self.filter(FilterId(id), &mut text);
            text.save(to);
            matches!(row.place, Place::Tree(_)).save(to);
        }
        groups.save(to);
        subscription_count.save(to);
        generation.save(to);
    }

    pub(crate) fn load(from: &mut Reader<'_>, seed: u64) -> Option<Self> {
        let mut index = Self::new(seed);
        index.filters = State::load(from)?;
        let ids: Vec<u32> = index.filters.iter().map(|(id, _)| id).collect();
        for id in ids {
            let (text, wildcards) = <(String, bool)>::load(from)?;
            let filter = TopicFilter::stored(&text, wildcards);
            if index.find(filter).is_some() {
                return None;
            }
            let place = index.place(filter, id);
            index.filters.at_mut(id).place = place;
        }
        index.groups = State::load(from)?;
        let shares = index
            .groups
            .iter()
            .map(|(_, group)| group.share().as_str().len());
        index.text_bytes += shares.sum::<usize>();
        index.subscription_count = State::load(from)?;
        index.generation = State::load(from)?;
        index.is_whole().then_some(index)
    }

    /// Whether each group stands once with the filter that it names, by its share name, and each
    /// filter has somebody; and whether they are counted right.
    fn is_whole(&self) -> bool {
        let (mut groups, mut subscriptions) = (0, 0);
        for (id, row) in self.filters.iter() {
            let mut before = None;
            for group in row.groups() {
                let group = self.groups.get(*group);
                let Some(group) = group.filter(|group| group.filter().0 == id) else {
                    return false;
                };
                if group.members().is_empty() || before >= Some(group.share()) {
                    return false;
                }
                before = Some(group.share());
                groups += 1;
                subscriptions += group.members().len();
            }
            subscriptions += row.subscribers.len();
            let is_used = row.subscribers.len() > 0 || row.shared.is_some();
            if !is_used || row.shared.is_some() && before.is_none() {
                return false;
            }
        }
        groups == self.groups.len() && subscriptions == self.subscription_count
    }

    /// How many plain subscriptions and group members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.subscription_count
    }

    /// Whether nobody subscribes to anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.subscription_count == 0
    }

    /// How many distinct filters there are.
    #[must_use]
    pub const fn filter_count(&self) -> usize {
        self.filters.len()
    }

    /// A number that is another one after every change that could change the result of a match, or
    /// the members of a group in it. While it is the same, results may be kept.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes results that are kept worthless, although nothing here has changed.
    pub(crate) const fn touch(&mut self) {
        self.generation += 1;
    }

    /// What the index consists of.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            subscriptions: self.subscription_count,
            filters: self.filters.len(),
            exact: self.exact.len(),
            groups: self.groups.len(),
            nodes: self.tree.node_count(),
            edges: self.tree.edge_count(),
        }
    }

    /// What the index takes, in bytes, its tables not being full.
    pub(crate) fn footprint(&self) -> u64 {
        const SUBSCRIBER: usize = 12;
        const FILTER: usize = 56;
        const EXACT: usize = 40;
        const GROUP: usize = 160;
        const NODE: usize = 64;
        let bytes = self.subscription_count * SUBSCRIBER
            + self.filters.len() * FILTER
            + self.exact.len() * EXACT
            + self.groups.len() * GROUP
            + self.tree.node_count() * NODE
            + self.tree.text_bytes()
            + self.text_bytes;
        bytes as u64
    }

    /// Adds a plain subscription, or replaces the one that this subscriber has for this very
    /// filter.
    pub fn insert(
        &mut self,
        filter: TopicFilter<'_>,
        key: SubscriberKey,
        subscription: Subscription,
    ) -> Inserted {
        let id = self.find_or_add(filter);
        let subscribers = &mut self.filters.at_mut(id).subscribers;
        let replaced = subscribers.insert(key, subscription);
        let first = replaced.is_none() && subscribers.len() == 1;
        self.count_insertion(replaced, subscription);
        Inserted {
            filter: FilterId(id),
            replaced,
            first,
        }
    }

    /// Removes a plain subscription. `None` when there is none.
    pub fn remove(&mut self, filter: TopicFilter<'_>, key: SubscriberKey) -> Option<Removed> {
        let id = self.find(filter)?;
        self.remove_id(FilterId(id), key)
    }

    /// Like [`Subscriptions::remove`], without looking the filter up.
    pub fn remove_id(&mut self, filter: FilterId, key: SubscriberKey) -> Option<Removed> {
        let subscribers = &mut self.filters.get_mut(filter.0)?.subscribers;
        let subscription = subscribers.remove(key)?;
        let last = subscribers.len() == 0;
        self.count_removal();
        self.drop_unused(filter.0);
        Some(Removed {
            filter,
            subscription,
            last,
        })
    }

    /// The plain subscription that this subscriber has for this very filter.
    #[must_use]
    pub fn get(
        &self,
        filter: TopicFilter<'_>,
        key: SubscriberKey,
    ) -> Option<(FilterId, Subscription)> {
        let id = self.find(filter)?;
        let subscription = self.filters.at(id).subscribers.get(key)?;
        Some((FilterId(id), subscription))
    }

    /// Like [`Subscriptions::get`], without looking the filter up.
    #[must_use]
    pub fn get_id(&self, filter: FilterId, key: SubscriberKey) -> Option<Subscription> {
        self.filters.get(filter.0)?.subscribers.get(key)
    }

    /// Adds a member to a shared group, or replaces the subscription that the member has there.
    pub fn insert_shared(
        &mut self,
        filter: TopicFilter<'_>,
        share: ShareName<'_>,
        key: SubscriberKey,
        subscription: Subscription,
    ) -> InsertedMember {
        let id = self.find_or_add(filter);
        let group_id = self.find_or_add_group(id, share);
        let group = self.groups.at_mut(group_id);
        let replaced = group.insert(key, subscription);
        let member_count = group.members().len();
        self.count_insertion(replaced, subscription);
        InsertedMember {
            filter: FilterId(id),
            group: GroupId(group_id),
            replaced,
            first: replaced.is_none() && member_count == 1,
            member_count,
        }
    }

    /// Removes a member from a shared group. `None` when there is no such member.
    pub fn remove_shared(
        &mut self,
        filter: TopicFilter<'_>,
        share: ShareName<'_>,
        key: SubscriberKey,
    ) -> Option<RemovedMember> {
        let id = self.find(filter)?;
        let group = self.find_group(id, share)?;
        self.remove_member(GroupId(group), key)
    }

    /// Like [`Subscriptions::remove_shared`], without looking filter and share name up.
    pub fn remove_member(&mut self, group: GroupId, key: SubscriberKey) -> Option<RemovedMember> {
        let members = self.groups.get_mut(group.0)?;
        let subscription = members.remove(key)?;
        let member_count = members.members().len();
        let filter = members.filter();
        self.count_removal();
        if member_count == 0 {
            self.drop_group(group.0);
            self.drop_unused(filter.0);
        }
        Some(RemovedMember {
            filter,
            group,
            subscription,
            last: member_count == 0,
            member_count,
        })
    }

    /// The subscription that this member has in a shared group.
    #[must_use]
    pub fn get_shared(
        &self,
        filter: TopicFilter<'_>,
        share: ShareName<'_>,
        key: SubscriberKey,
    ) -> Option<(GroupId, Subscription)> {
        let id = self.find(filter)?;
        let group = self.find_group(id, share)?;
        Some((GroupId(group), self.groups.at(group).get(key)?))
    }

    /// The shared group of this name for this very filter.
    #[must_use]
    pub fn shared(&self, filter: TopicFilter<'_>, share: ShareName<'_>) -> Option<GroupId> {
        let id = self.find(filter)?;
        self.find_group(id, share).map(GroupId)
    }

    /// A shared group. `None` when it is gone.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&SharedGroup> {
        self.groups.get(group.0)
    }

    /// A shared group, for the policy that keeps its state there. `None` when it is gone.
    pub fn group_mut(&mut self, group: GroupId) -> Option<&mut SharedGroup> {
        self.groups.get_mut(group.0)
    }

    /// Appends the text of a filter, without `$share`; nothing when it is gone.
    pub fn filter(&self, filter: FilterId, out: &mut String) {
        match self.filters.get(filter.0).map(|row| &row.place) {
            Some(Place::Exact(text)) => out.push_str(text),
            Some(Place::Tree(position)) => self.tree.write(*position, out),
            None => {}
        }
    }

    /// Finds everybody who wants messages on this topic name. What `out` held before is gone.
    ///
    /// The order depends on nothing but the history of the index: filter by filter, and in each the
    /// subscribers by key and the groups by share name.
    pub fn matches(&self, name: TopicName<'_>, out: &mut Matches) {
        let Matches {
            subscribers,
            groups,
            walk,
        } = out;
        subscribers.clear();
        groups.clear();
        let mut found = |id| {
            let row = self.filters.at(id);
            row.subscribers.append_to(subscribers);
            groups.extend(row.groups().iter().copied().map(GroupId));
        };
        if let Some(id) = self.find_exact(name.as_str()) {
            found(id);
        }
        self.tree.walk(name, walk, found);
    }

    /// Calls `visit` once for every filter with plain subscribers, and once for every shared group,
    /// with the number of subscribers: all that a peer has to know. The order depends on nothing
    /// but the history of the index.
    pub fn for_each_filter(
        &self,
        mut visit: impl FnMut(TopicFilter<'_>, Option<ShareName<'_>>, usize),
    ) {
        let mut text = String::new();
        for (id, row) in self.filters.iter() {
            text.clear();
            self.filter(FilterId(id), &mut text);
            let filter = TopicFilter::stored(&text, matches!(row.place, Place::Tree(_)));
            if row.subscribers.len() > 0 {
                visit(filter, None, row.subscribers.len());
            }
            for &group in row.groups() {
                let group = self.groups.at(group);
                visit(filter, Some(group.share()), group.members().len());
            }
        }
    }

    fn find(&self, filter: TopicFilter<'_>) -> Option<u32> {
        if filter.has_wildcards() {
            self.tree.get(filter)
        } else {
            self.find_exact(filter.as_str())
        }
    }

    fn find_exact(&self, text: &str) -> Option<u32> {
        if self.exact.len() == 0 {
            return None;
        }
        self.exact.find(
            self.hasher.text(text),
            |id| matches!(&self.filters.at(id).place, Place::Exact(other) if **other == *text),
        )
    }

    fn find_or_add(&mut self, filter: TopicFilter<'_>) -> u32 {
        if let Some(id) = self.find(filter) {
            return id;
        }
        let id = self.filters.insert(FilterRow {
            place: Place::Exact(Box::default()),
            subscribers: SubscriberList::Empty,
            shared: None,
        });
        let place = self.place(filter, id);
        self.filters.at_mut(id).place = place;
        id
    }

    /// Lets the row of a filter be found.
    fn place(&mut self, filter: TopicFilter<'_>, id: u32) -> Place {
        if filter.has_wildcards() {
            return Place::Tree(self.tree.insert(filter, id));
        }
        let text = filter.as_str();
        self.text_bytes += text.len();
        self.exact.insert(self.hasher.text(text), id);
        Place::Exact(text.into())
    }

    fn find_group(&self, filter: u32, share: ShareName<'_>) -> Option<u32> {
        let index = self.group_index(filter, share).ok()?;
        self.filters.at(filter).groups().get(index).copied()
    }

    /// Where in the list of the filter the group is, or would be.
    fn group_index(&self, filter: u32, share: ShareName<'_>) -> Result<usize, usize> {
        let by_name = |id: &u32| self.groups.at(*id).share().cmp(&share);
        self.filters.at(filter).groups().binary_search_by(by_name)
    }

    fn find_or_add_group(&mut self, filter: u32, share: ShareName<'_>) -> u32 {
        match self.group_index(filter, share) {
            Ok(index) => self.filters.at(filter).groups()[index],
            Err(index) => {
                let group = SharedGroup::new(FilterId(filter), share);
                self.text_bytes += share.as_str().len();
                let id = self.groups.insert(group);
                let shared = &mut self.filters.at_mut(filter).shared;
                shared.get_or_insert_default().ids.insert(index, id);
                id
            }
        }
    }

    /// Forgets a group whose last member left.
    fn drop_group(&mut self, id: u32) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let filter = group.filter().0;
        self.text_bytes -= group.share().as_str().len();
        if let Ok(index) = self.group_index(filter, group.share()) {
            let row = self.filters.at_mut(filter);
            if let Some(shared) = &mut row.shared {
                shared.ids.remove(index);
                if shared.ids.is_empty() {
                    row.shared = None;
                }
            }
        }
        self.groups.remove(id);
    }

    /// Forgets a filter that nobody subscribes to any more.
    fn drop_unused(&mut self, id: u32) {
        let row = self.filters.at(id);
        if row.subscribers.len() > 0 || row.shared.is_some() {
            return;
        }
        match &row.place {
            Place::Exact(text) => {
                self.text_bytes -= text.len();
                self.exact.remove(self.hasher.text(text), id);
            }
            Place::Tree(position) => self.tree.remove(*position),
        }
        self.filters.remove(id);
    }

    fn count_insertion(&mut self, replaced: Option<Subscription>, subscription: Subscription) {
        if replaced.is_none() {
            self.subscription_count += 1;
        }
        if replaced != Some(subscription) {
            self.generation += 1;
        }
    }

    const fn count_removal(&mut self) {
        self.subscription_count -= 1;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte of a state is another one: it is none, or an index that can be used and emptied.
    #[test]
    fn what_a_state_contradicts_itself_in_is_noticed() {
        let mut index = Subscriptions::new(1);
        let subscription = Subscription::default();
        for (key, filter) in ["a", "a/+", "a/#", "gone", "b"].iter().enumerate() {
            let filter = TopicFilter::plain(filter).unwrap();
            index.insert(filter, SubscriberKey(key as u32), subscription);
            for share in ["g", "h"] {
                let share = ShareName::new(share).unwrap();
                index.insert_shared(filter, share, SubscriberKey(9), subscription);
            }
        }
        let gone = index.find(TopicFilter::plain("gone").unwrap());
        empty(&mut index, gone.unwrap());
        let mut bytes = Vec::new();
        index.save(&mut Writer::new(&mut bytes, false));
        assert!(Subscriptions::load(&mut Reader::new(&bytes), 1).is_some());
        for place in 0..bytes.len() {
            for mask in [1, 2, 4, 0x80, 0xFF] {
                let mut other = bytes.clone();
                other[place] ^= mask;
                let Some(mut index) = Subscriptions::load(&mut Reader::new(&other), 1) else {
                    continue;
                };
                let mut matches = Matches::new();
                for topic in ["a", "a/b", "a/b/c", "b", "gone"] {
                    index.matches(TopicName::new(topic).unwrap(), &mut matches);
                }
                let ids: Vec<u32> = index.filters.iter().map(|(id, _)| id).collect();
                ids.iter().for_each(|id| empty(&mut index, *id));
                assert_eq!(index.counts(), Counts::default(), "{place} ^ {mask}");
            }
        }
    }

    /// Takes everybody away from a filter.
    fn empty(index: &mut Subscriptions, id: u32) {
        let mut all = Vec::new();
        index.filters.at(id).subscribers.append_to(&mut all);
        let groups = index.filters.at(id).groups().to_vec();
        for one in all {
            index.remove_id(FilterId(id), one.key);
        }
        for group in groups {
            let members = index.groups.at(group).members().to_vec();
            for member in members {
                index.remove_member(GroupId(group), member.key);
            }
        }
    }
}
