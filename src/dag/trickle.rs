//! Sans-IO: the trickle layout: a node has leaves first, then trees that grow deeper, four of each depth, so that whoever
//! reads from the front meets data early.

use super::{
    DagError, ImportParams, OutBlock,
    file::{FileRoot, NONE, join},
    unixfs::Attributes,
};

/// Trees of one depth that stand side by side, as boxo has it.
const REPEAT: usize = 4;

/// The nodes that are not full yet, the root first.
#[derive(Debug)]
pub(super) struct Trickle {
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    children: Vec<FileRoot>,
    /// Depth of the deepest tree it may be; `None`: any.
    limit: Option<usize>,
    /// Trees opened below it so far.
    trees: usize,
}

impl Open {
    fn new(limit: Option<usize>) -> Self {
        Open { children: Vec::new(), limit, trees: 0 }
    }
}

impl Trickle {
    pub(super) fn new() -> Self {
        Trickle { open: vec![Open::new(None)] }
    }

    /// Adds the next leaf; nodes that are complete come out.
    pub(super) fn push(
        &mut self,
        params: &ImportParams,
        leaf: FileRoot,
        out: &mut Vec<OutBlock>,
    ) -> Result<(), DagError> {
        while let Some(node) = self.open.last_mut() {
            if node.children.len() < params.max_file_links {
                node.children.push(leaf);
                break;
            }
            let depth = node.trees / REPEAT + 1;
            if node.limit.is_none_or(|limit| depth < limit) {
                node.trees += 1;
                self.open.push(Open::new(Some(depth)));
            } else {
                self.close(params, out)?;
            }
        }
        Ok(())
    }

    /// Makes a node of the innermost open one, which is not the root, and hands it to the one above.
    fn close(&mut self, params: &ImportParams, out: &mut Vec<OutBlock>) -> Result<(), DagError> {
        if let Some(node) = self.open.pop() {
            let node = join(params, node.children, NONE, out)?;
            if let Some(above) = self.open.last_mut() {
                above.children.push(node);
            }
        }
        Ok(())
    }

    /// The remaining nodes and the root, which says this of the file.
    pub(super) fn finish(
        mut self,
        params: &ImportParams,
        attributes: &Attributes,
        out: &mut Vec<OutBlock>,
    ) -> Result<FileRoot, DagError> {
        while self.open.len() > 1 {
            self.close(params, out)?;
        }
        let root = self.open.pop().map(|node| node.children).unwrap_or_default();
        join(params, root, attributes, out)
    }
}
