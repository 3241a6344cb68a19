//! The attributes of a node, and which of them were understood.

use std::cell::Cell;

use crate::onnx::proto::{AttributeProto, AttributeType, NodeProto, TensorProto};

/// Attributes by name. Reading one marks it as understood.
pub(super) struct Attributes<'a> {
    all: Vec<(&'a AttributeProto, Cell<bool>)>,
}

type Told<T> = Result<T, String>;

impl<'a> Attributes<'a> {
    /// The attributes of `node`.
    ///
    /// # Errors
    /// When two have the same name.
    pub fn new(node: &'a NodeProto) -> Told<Attributes<'a>> {
        let mut names: Vec<&str> = node.attribute.iter().map(|a| a.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("attribute {:?} is given twice", pair[0]));
        }
        Ok(Attributes { all: node.attribute.iter().map(|a| (a, Cell::new(false))).collect() })
    }

    /// The name of an attribute that nobody asked for.
    pub fn unread(&self) -> Option<&'a str> {
        self.all.iter().find(|(_, read)| !read.get()).map(|(a, _)| a.name.as_str())
    }

    pub fn int(&self, name: &str) -> Told<Option<i64>> {
        Ok(self.get(name, AttributeType::Int)?.map(|a| a.i))
    }

    pub fn float(&self, name: &str) -> Told<Option<f32>> {
        Ok(self.get(name, AttributeType::Float)?.map(|a| a.f))
    }

    pub fn ints(&self, name: &str) -> Told<Option<&'a [i64]>> {
        Ok(self.get(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub fn floats(&self, name: &str) -> Told<Option<&'a [f32]>> {
        Ok(self.get(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    pub fn tensor(&self, name: &str) -> Told<Option<&'a TensorProto>> {
        let Some(a) = self.get(name, AttributeType::Tensor)? else { return Ok(None) };
        a.t.as_deref().map(Some).ok_or_else(|| format!("attribute {name:?} is empty"))
    }

    pub fn string(&self, name: &str) -> Told<Option<&'a str>> {
        let Some(a) = self.get(name, AttributeType::String)? else { return Ok(None) };
        std::str::from_utf8(&a.s).map(Some).map_err(|_| format!("attribute {name:?} is no text"))
    }

    pub fn strings(&self, name: &str) -> Told<Option<Vec<&'a str>>> {
        let Some(a) = self.get(name, AttributeType::Strings)? else { return Ok(None) };
        let texts = a.strings.iter().map(|s| std::str::from_utf8(s)).collect::<Result<_, _>>();
        texts.map(Some).map_err(|_| format!("attribute {name:?} is no text"))
    }

    /// An integer that stands for yes or no.
    pub fn flag(&self, name: &str) -> Told<Option<bool>> {
        Ok(self.int(name)?.map(|i| i != 0))
    }

    fn get(&self, name: &str, wanted: AttributeType) -> Told<Option<&'a AttributeProto>> {
        let Some((a, read)) = self.all.iter().find(|(a, _)| a.name == name) else {
            return Ok(None);
        };
        read.set(true);
        match a.r#type() {
            // The oldest files leave the type out.
            AttributeType::Undefined => Ok(Some(a)),
            found if found == wanted => Ok(Some(a)),
            found => Err(format!("attribute {name:?} is {found:?}, not {wanted:?}")),
        }
    }
}
