//! Topological order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::functions::Item;
use super::node::place;
use crate::error::{Error, Result};

/// The nodes in an order in which every value is made before it is used; as they stand, where that is one.
pub(super) fn sort(items: Vec<Item>, given: &HashSet<String>) -> Result<Vec<Item>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        for name in item.proto.output.iter().filter(|n| !n.is_empty()) {
            if given.contains(name.as_str()) || makers.insert(name, i).is_some() {
                return Err(Error::malformed(format!(
                    "{} makes {name:?}, which is taken",
                    place(&item.proto)
                )));
            }
        }
    }
    let mut needs: Vec<Vec<usize>> = Vec::with_capacity(items.len());
    for item in &items {
        let mut before = Vec::new();
        let used = item.proto.input.iter().chain(&item.captured).filter(|n| !n.is_empty());
        for name in used.filter(|n| !given.contains(n.as_str())) {
            before.push(*makers.get(name.as_str()).ok_or_else(|| {
                Error::malformed(format!("{} uses {name:?}, which nothing makes", place(&item.proto)))
            })?);
        }
        needs.push(before);
    }
    if needs.iter().enumerate().all(|(i, before)| before.iter().all(|&b| b < i)) {
        return Ok(items);
    }

    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    for (i, before) in needs.iter().enumerate() {
        before.iter().for_each(|&b| users[b].push(i));
    }
    let mut ready: BinaryHeap<_> = (0..items.len()).filter(|&i| open[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(items.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            open[user] -= 1;
            if open[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if let Some(stuck) = open.iter().position(|&n| n > 0) {
        let on_cycle = cycle(stuck, &needs, &open);
        return Err(Error::malformed(format!("{} needs its own result", place(&items[on_cycle].proto))));
    }
    let mut items: Vec<Option<Item>> = items.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| items[i].take()).collect())
}

/// A node on a cycle that `stuck` waits for: walking back must come to one twice.
fn cycle(stuck: usize, needs: &[Vec<usize>], open: &[usize]) -> usize {
    let mut seen = HashSet::new();
    let mut at = stuck;
    while seen.insert(at) {
        at = needs[at].iter().copied().find(|&b| open[b] > 0).unwrap_or(at);
    }
    at
}
