#![allow(missing_docs, dead_code, clippy::all)]
use super::*;
use crate::codec::packet::*;
use alloc::{boxed::Box, string::String, vec::Vec};
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberKey(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub options: SubscribeOptions,
    pub identifier: u32,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    pub key: SubscriberKey,
    sub: Subscription,
}
impl Subscriber {
    pub fn subscription(&self) -> Subscription {
        self.sub
    }
}
#[derive(Default)]
pub struct Matches {
    pub subscribers: Vec<Subscriber>,
    pub groups: Vec<GroupId>,
}
pub struct Inserted {
    pub filter: FilterId,
    pub replaced: Option<Subscription>,
    pub first: bool,
}
pub struct InsertedMember {
    pub filter: FilterId,
    pub group: GroupId,
    pub replaced: Option<Subscription>,
    pub members: u32,
}
pub struct Removed {
    pub filter: FilterId,
    pub subscription: Subscription,
    pub last: bool,
}
pub struct RemovedMember {
    pub filter: FilterId,
    pub group: GroupId,
    pub subscription: Subscription,
    pub members: u32,
}
pub struct SharedGroup {
    share: Box<str>,
    filter: FilterId,
    members: Vec<Subscriber>,
    pub cursor: u32,
}
impl SharedGroup {
    pub fn members(&self) -> &[Subscriber] {
        &self.members
    }
}
#[derive(Default)]
pub struct Subscriptions {
    filters: Vec<(Box<str>, Vec<Subscriber>)>,
    groups: Vec<SharedGroup>,
    generation: u64,
}
impl Subscriptions {
    pub fn new(_: u64) -> Self {
        Self::default()
    }
    pub fn generation(&self) -> u64 {
        self.generation
    }
    pub fn len(&self) -> usize {
        self.filters.iter().map(|f| f.1.len()).sum::<usize>()
            + self.groups.iter().map(|g| g.members.len()).sum::<usize>()
    }
    fn id(&mut self, f: &str) -> u32 {
        if let Some(i) = self.filters.iter().position(|x| &*x.0 == f) {
            return i as u32;
        }
        self.filters.push((f.into(), Vec::new()));
        self.filters.len() as u32 - 1
    }
    pub fn insert(
        &mut self,
        f: TopicFilter<'_>,
        key: SubscriberKey,
        sub: Subscription,
    ) -> Inserted {
        self.generation += 1;
        let i = self.id(f.as_str());
        let l = &mut self.filters[i as usize].1;
        let first = l.is_empty();
        let old = l.iter().position(|s| s.key == key).map(|p| l.remove(p).sub);
        l.push(Subscriber { key, sub });
        Inserted {
            filter: FilterId(i),
            replaced: old,
            first,
        }
    }
    pub fn remove(&mut self, f: TopicFilter<'_>, key: SubscriberKey) -> Option<Removed> {
        let i = self.id(f.as_str());
        self.remove_id(FilterId(i), key)
    }
    pub fn remove_id(&mut self, i: FilterId, key: SubscriberKey) -> Option<Removed> {
        self.generation += 1;
        let l = &mut self.filters[i.0 as usize].1;
        let p = l.iter().position(|s| s.key == key)?;
        let s = l.remove(p).sub;
        let last = l.is_empty();
        Some(Removed {
            filter: i,
            subscription: s,
            last,
        })
    }
    pub fn get(&self, f: TopicFilter<'_>, key: SubscriberKey) -> Option<(FilterId, Subscription)> {
        let i = self.filters.iter().position(|x| &*x.0 == f.as_str())?;
        self.filters[i]
            .1
            .iter()
            .find(|s| s.key == key)
            .map(|s| (FilterId(i as u32), s.sub))
    }
    pub fn insert_shared(
        &mut self,
        f: TopicFilter<'_>,
        share: ShareName<'_>,
        key: SubscriberKey,
        sub: Subscription,
    ) -> InsertedMember {
        self.generation += 1;
        let i = self.id(f.as_str());
        let g = match self
            .groups
            .iter()
            .position(|g| g.filter.0 == i && &*g.share == share.as_str())
        {
            Some(g) => g,
            None => {
                self.groups.push(SharedGroup {
                    share: share.as_str().into(),
                    filter: FilterId(i),
                    members: Vec::new(),
                    cursor: 0,
                });
                self.groups.len() - 1
            }
        };
        let m = &mut self.groups[g].members;
        let old = m.iter().position(|s| s.key == key).map(|p| m.remove(p).sub);
        m.push(Subscriber { key, sub });
        InsertedMember {
            filter: FilterId(i),
            group: GroupId(g as u32),
            replaced: old,
            members: m.len() as u32,
        }
    }
    pub fn remove_shared(
        &mut self,
        f: TopicFilter<'_>,
        share: ShareName<'_>,
        key: SubscriberKey,
    ) -> Option<RemovedMember> {
        let g = self.find_group(f, share)?;
        self.remove_member(g, key)
    }
    pub fn remove_member(&mut self, g: GroupId, key: SubscriberKey) -> Option<RemovedMember> {
        self.generation += 1;
        let gr = self.groups.get_mut(g.0 as usize)?;
        let p = gr.members.iter().position(|s| s.key == key)?;
        let s = gr.members.remove(p).sub;
        Some(RemovedMember {
            filter: gr.filter,
            group: g,
            subscription: s,
            members: gr.members.len() as u32,
        })
    }
    pub fn get_shared(
        &self,
        f: TopicFilter<'_>,
        share: ShareName<'_>,
        key: SubscriberKey,
    ) -> Option<Subscription> {
        let g = self.find_group(f, share)?;
        self.groups[g.0 as usize]
            .members
            .iter()
            .find(|s| s.key == key)
            .map(|s| s.sub)
    }
    pub fn find_group(&self, f: TopicFilter<'_>, share: ShareName<'_>) -> Option<GroupId> {
        self.groups
            .iter()
            .position(|g| {
                &*g.share == share.as_str()
                    && &*self.filters[g.filter.0 as usize].0 == f.as_str()
                    && !g.members.is_empty()
            })
            .map(|g| GroupId(g as u32))
    }
    pub fn group(&self, g: GroupId) -> Option<&SharedGroup> {
        self.groups.get(g.0 as usize)
    }
    pub fn group_mut(&mut self, g: GroupId) -> Option<&mut SharedGroup> {
        self.groups.get_mut(g.0 as usize)
    }
    pub fn filter(&self, f: FilterId, out: &mut String) {
        self.text(f, None, out)
    }
    pub fn group_text(&self, g: GroupId, out: &mut String) {
        self.text(self.groups[g.0 as usize].filter, Some(g), out)
    }
    fn text(&self, f: FilterId, g: Option<GroupId>, out: &mut String) {
        if let Some(g) = g {
            out.push_str("$share/");
            out.push_str(&self.groups[g.0 as usize].share);
            out.push('/');
        }
        out.push_str(&self.filters[f.0 as usize].0)
    }
    pub fn matches(&self, t: TopicName<'_>, m: &mut Matches) {
        m.subscribers.clear();
        m.groups.clear();
        for (f, l) in &self.filters {
            if TopicFilter::plain(f).unwrap().matches(t) {
                m.subscribers.extend_from_slice(l);
            }
        }
        for (i, g) in self.groups.iter().enumerate() {
            if !g.members.is_empty()
                && TopicFilter::plain(&self.filters[g.filter.0 as usize].0)
                    .unwrap()
                    .matches(t)
            {
                m.groups.push(GroupId(i as u32));
            }
        }
    }
}
