//! Moving through a tree.

use super::{Entry, Inner, Node};

/// A place between two items, moving either way.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    pub(super) path: Vec<(&'a Inner, usize)>,
    pub(super) leaf: &'a [Entry],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor over one slice of entries, for sets too small to be a tree.
    pub(crate) const fn over(leaf: &'a [Entry], at: usize) -> Self {
        Self { path: Vec::new(), leaf, at }
    }

    /// The item after the cursor, which moves past it.
    pub(crate) fn next(&mut self) -> Option<Entry> {
        while self.at == self.leaf.len() {
            self.step_leaf(true)?;
        }
        self.at += 1;
        Some(self.leaf[self.at - 1])
    }

    /// The item before the cursor, which moves before it.
    pub(crate) fn prev(&mut self) -> Option<Entry> {
        while self.at == 0 {
            self.step_leaf(false)?;
        }
        self.at -= 1;
        Some(self.leaf[self.at])
    }

    /// All items after the cursor in its leaf, at most `limit`; none at the end.
    pub(crate) fn next_run(&mut self, limit: usize) -> Option<&'a [Entry]> {
        while self.at == self.leaf.len() {
            self.step_leaf(true)?;
        }
        let end = self.leaf.len().min(self.at.saturating_add(limit));
        let run = &self.leaf[self.at..end];
        self.at = end;
        Some(run)
    }

    fn step_leaf(&mut self, forward: bool) -> Option<()> {
        let depth =
            self.path.iter().rposition(|(inner, at)| if forward { at + 1 < inner.children.len() } else { *at > 0 })?;
        let levels = self.path.len();
        self.path.truncate(depth + 1);
        let (inner, at) = self.path.last_mut()?;
        *at = if forward { *at + 1 } else { *at - 1 };
        let mut node = &inner.children[*at];
        while self.path.len() < levels
            && let Node::Inner(inner) = node
        {
            let at = if forward { 0 } else { inner.children.len() - 1 };
            self.path.push((inner, at));
            node = &inner.children[at];
        }
        self.leaf = node.entries();
        self.at = if forward { 0 } else { self.leaf.len() };
        Some(())
    }
}
