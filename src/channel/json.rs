//! Reading what others wrote: a member is looked at only when it is asked for, so that what is wrong in one (its type, a
//! number beyond all bounds, half of a surrogate pair, ten thousand brackets) does not touch its neighbours.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::domain::{channel::Skip, hex::Hex};

/// A JSON object with unread members.
pub(super) struct Object<'a>(HashMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// Reads an object, but not what is in it.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self)
    }

    /// A member, if it is of this type: a string, a number, a truth value.
    pub(super) fn get<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// A string that is not blank.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|text: &String| !text.trim().is_empty())
    }

    /// A name: a string that is not blank, or a whole number.
    pub(super) fn id(&self, name: &str) -> Option<String> {
        let raw = self.0.get(name)?.get();
        let is_number = raw.bytes().all(|b| b.is_ascii_digit());
        if is_number { Some(raw.to_owned()) } else { self.text(name) }
    }

    /// An object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.0.get(name)?.get().as_bytes())
    }

    /// The objects in an array, none if there is no such member. Whatever else is in it, or there instead, is malformed.
    pub(super) fn objects(&self, name: &str) -> impl Iterator<Item = Result<Self, Skip>> + use<'a> {
        let member = self.0.get(name).copied().filter(|raw| raw.get() != "null");
        let items: Vec<Option<&'a RawValue>> = member
            .map_or_else(Vec::new, |raw| serde_json::from_str(raw.get()).unwrap_or_else(|_| vec![None]));
        let read = |item: &'a RawValue| Self::read(item.get().as_bytes());
        items.into_iter().map(move |item| item.and_then(read).ok_or(Skip::Malformed))
    }
}

/// What stands for the id of a message that has none: redelivered, it has the same bytes.
pub(super) fn id_of_body(body: &[u8]) -> String {
    format!("sha256:{}", Hex(&Sha256::digest(body)))
}
