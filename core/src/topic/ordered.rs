#![allow(missing_docs, dead_code, clippy::all)]
use super::*;
use alloc::{collections::BTreeMap, string::String};
pub trait TopicKey {
    fn topic(&self) -> &str;
}
pub struct TopicMap<K, V>(BTreeMap<String, (K, V)>);
impl<K: TopicKey, V> TopicMap<K, V> {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn get(&self, t: &str) -> Option<(&K, &V)> {
        self.0.get(t).map(|x| (&x.0, &x.1))
    }
    pub fn insert(&mut self, k: K, v: V) {
        self.0.insert(k.topic().into(), (k, v));
    }
    pub fn remove(&mut self, t: &str) -> Option<(K, V)> {
        self.0.remove(t)
    }
    pub fn next_match(&self, f: TopicFilter<'_>, after: Option<&str>) -> Option<(&K, &V)> {
        self.0
            .iter()
            .filter(|(k, _)| after.is_none_or(|a| k.as_str() > a))
            .find(|(k, _)| f.matches(TopicName::new(k).unwrap()))
            .map(|(_, x)| (&x.0, &x.1))
    }
}
