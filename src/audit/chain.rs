//! The chain: each hash is of the one before it and of one row. So no row can be altered, taken out or
//! put in without every hash after it being made anew, and the last one is another one then.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::row::digest;
use crate::access::hex;

/// A hash of the chain: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainHash(String);

impl ChainHash {
    /// What stands before the first row.
    #[must_use]
    pub fn zero() -> Self {
        Self("0".repeat(64))
    }

    /// The hash of a row with this digest that comes after this hash.
    #[must_use]
    pub fn next(&self, row_digest: &str) -> Self {
        Self(hex(&Sha256::new_with_prefix(&self.0).chain_update(row_digest).finalize()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for ChainHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_one = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one { Ok(Self(text.to_ascii_lowercase())) } else { Err("must be 64 hex digits") }
    }
}

/// Where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Places of the chain are missing.
    #[error("position {position} of the chain is missing: what stood there was taken out")]
    Missing {
        /// The first one.
        position: i64,
    },
    /// A row that was chained is not there.
    #[error("row {id} at position {position} is gone: it was sealed, and was deleted then")]
    Gone {
        /// Where it was chained.
        position: i64,
        /// Its number.
        id: i64,
    },
    /// A row, or its hash, is not what was chained.
    #[error(
        "row {id} at position {position} is not what was sealed there: it was changed, or put in, or \
         its hash was"
    )]
    Changed {
        /// Where it is chained.
        position: i64,
        /// Its number.
        id: i64,
    },
    /// What the chain begins with is no checkpoint that pruning left.
    #[error(
        "the chain begins at position {position}, and no pruning tells of that: what was before was deleted"
    )]
    NotPruned {
        /// Where it begins.
        position: i64,
    },
    /// The head that somebody remembers is not in the chain.
    #[error(
        "the chain does not have the hash {head}: what came up to it was cut off or written anew, \
         or is older than what is kept"
    )]
    NoSuchHead {
        /// The one that was looked for.
        head: String,
    },
}

/// A walk along a chain, link by link.
#[derive(Debug)]
pub struct ChainWalk {
    last: ChainHash,
    position: i64,
    has_begun: bool,
    /// Up to where the chain was pruned; 0 for not at all.
    pruned: i64,
    checkpoint: Option<ChainHash>,
    wanted: Option<ChainHash>,
    verified: u64,
}

impl ChainWalk {
    /// Begins one. `head`: a hash that the chain must have.
    #[must_use]
    pub fn new(head: Option<ChainHash>) -> Self {
        let last = ChainHash::zero();
        Self {
            last,
            position: 0,
            has_begun: false,
            pruned: 0,
            checkpoint: None,
            wanted: head,
            verified: 0,
        }
    }

    /// Goes on with the next link: its position, its hash, the number of its row, and the digest of that
    /// row if it is there. The first link may lack its row: it is the checkpoint that pruning left.
    ///
    /// # Errors
    ///
    /// [`Broken`]: the chain does not hold here.
    pub fn step(
        &mut self,
        position: i64,
        hash: &ChainHash,
        id: i64,
        row_digest: Option<&str>,
    ) -> Result<(), Broken> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if is_first && row_digest.is_none() {
            (self.pruned, self.checkpoint) = (position, Some(hash.clone()));
        } else if position != self.position + 1 {
            return Err(Broken::Missing { position: self.position + 1 });
        } else {
            let row_digest = row_digest.ok_or(Broken::Gone { position, id })?;
            if self.last.next(row_digest) != *hash {
                return Err(Broken::Changed { position, id });
            }
            self.verified += 1;
        }
        self.moved(position, hash);
        Ok(())
    }

    /// The same with the text of a row, whose hash and the one before it are told. The first one of a
    /// file may go on from anywhere.
    ///
    /// # Errors
    ///
    /// [`Broken`]: the chain does not hold here.
    pub fn step_by_text(
        &mut self,
        position: i64,
        previous: &ChainHash,
        hash: &ChainHash,
        (id, text): (i64, &str),
    ) -> Result<(), Broken> {
        if !self.has_begun {
            // Nothing but zeros stands before the first row of all.
            if position == 1 && *previous != ChainHash::zero() {
                return Err(Broken::Changed { position, id });
            }
            self.has_begun = true;
            self.pruned = position - 1;
            self.moved(position - 1, previous);
        }
        if *previous != self.last && position == self.position + 1 {
            return Err(Broken::Changed { position, id });
        }
        self.step(position, hash, id, Some(&digest(text)))
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// [`Broken::NoSuchHead`]: the hash that the chain must have was not in it.
    pub fn end(&self) -> Result<(), Broken> {
        match &self.wanted {
            Some(head) => Err(Broken::NoSuchHead { head: head.to_string() }),
            None => Ok(()),
        }
    }

    /// Where it stands: the position and the hash.
    #[must_use]
    pub fn head(&self) -> (i64, &ChainHash) {
        (self.position, &self.last)
    }

    /// Up to which position the chain was pruned, or begins after; 0 for not at all.
    #[must_use]
    pub fn pruned(&self) -> i64 {
        self.pruned
    }

    /// The link without its row that the chain begins with: a row of the audit, `prune`, must tell of its
    /// position and hash.
    #[must_use]
    pub fn checkpoint(&self) -> Option<(i64, &ChainHash)> {
        Some((self.pruned, self.checkpoint.as_ref()?))
    }

    /// How many rows were verified.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified
    }

    fn moved(&mut self, position: i64, hash: &ChainHash) {
        (self.position, self.last) = (position, hash.clone());
        self.wanted.take_if(|wanted| wanted == hash);
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    /// A chain of so many rows: position, hash, id, digest.
    fn chain(rows: i64) -> Vec<(i64, ChainHash, i64, Option<String>)> {
        let mut last = ChainHash::zero();
        let link = |position| {
            // A row that was committed late is chained late.
            let id = if position % 2 == 0 { position - 1 } else { position + 1 };
            let digest = row(id).digest();
            last = last.next(&digest);
            (position, last.clone(), id, Some(digest))
        };
        (1..=rows).map(link).collect()
    }

    fn walk(
        links: &[(i64, ChainHash, i64, Option<String>)],
        head: Option<&ChainHash>,
    ) -> Result<ChainWalk, Broken> {
        let mut walk = ChainWalk::new(head.cloned());
        for (position, hash, id, digest) in links {
            walk.step(*position, hash, *id, digest.as_deref())?;
        }
        walk.end()?;
        Ok(walk)
    }

    #[test]
    fn a_whole_chain_holds_and_has_every_head_that_it_had() {
        let links = chain(6);
        for (_, hash, ..) in &links {
            let walked = walk(&links, Some(hash)).unwrap();
            assert_eq!((walked.verified(), walked.pruned(), walked.head().0), (6, 0, 6));
        }
        assert!(walk(&[], None).is_ok());
    }

    #[test]
    fn what_was_taken_out_changed_or_put_in_is_found_where_it_is() {
        let links = chain(6);
        let mut gone = links.clone();
        gone[3].3 = None;
        assert_eq!(walk(&gone, None).unwrap_err(), Broken::Gone { position: 4, id: 3 });
        let mut missing = links.clone();
        missing.remove(3);
        assert_eq!(walk(&missing, None).unwrap_err(), Broken::Missing { position: 4 });
        let mut changed = links.clone();
        changed[3].3 = Some(row(9).digest());
        assert_eq!(walk(&changed, None).unwrap_err(), Broken::Changed { position: 4, id: 3 });
        let mut beheaded = links.clone();
        beheaded.remove(0);
        assert_eq!(walk(&beheaded, None).unwrap_err(), Broken::Missing { position: 1 });
        let mut put_in = links.clone();
        put_in.insert(3, (4, links[2].1.next(&row(9).digest()), 9, Some(row(9).digest())));
        put_in.iter_mut().skip(4).for_each(|link| link.0 += 1);
        assert_eq!(walk(&put_in, None).unwrap_err(), Broken::Changed { position: 5, id: 3 });
    }

    #[test]
    fn a_chain_that_was_cut_off_or_written_anew_holds_and_lacks_the_head_that_was_remembered() {
        let (links, mut anew) = (chain(6), Vec::new());
        let head = &links[5].1;
        assert!(walk(&links[..5], None).is_ok());
        assert!(matches!(walk(&links[..5], Some(head)), Err(Broken::NoSuchHead { .. })));
        let mut last = ChainHash::zero();
        for (position, _, id, digest) in links.iter().filter(|link| link.0 != 2).cloned() {
            last = last.next(digest.as_deref().unwrap());
            anew.push((position - i64::from(position > 2), last.clone(), id, digest));
        }
        assert!(walk(&anew, None).is_ok());
        assert!(matches!(walk(&anew, Some(head)), Err(Broken::NoSuchHead { .. })));
    }

    #[test]
    fn a_chain_that_was_pruned_holds_from_its_checkpoint_on() {
        let mut links = chain(6).split_off(2);
        links[0].3 = None;
        let walked = walk(&links, None).unwrap();
        assert_eq!((walked.pruned(), walked.verified()), (3, 3));
        let checkpoint = links[0].1.clone();
        assert!(walk(&links, Some(&checkpoint)).is_ok());
        links[1].3 = None;
        assert_eq!(walk(&links, None).unwrap_err(), Broken::Gone { position: 4, id: 3 });
    }

    #[test]
    fn a_hash_is_what_any_tool_makes_of_the_two_before_it() {
        // printf '%064d%s' 0 "$(printf row | sha256sum | cut -c-64)" | sha256sum
        let hash = ChainHash::zero().next(&digest("row"));
        assert_eq!(
            hash.as_str(),
            "86be8ea42a0a761d0715f4459ec51ba8e5d6e4bf1b12aaefc3902dff4ff510bb"
        );
        assert_eq!(hash.as_str().to_uppercase().parse::<ChainHash>().unwrap(), hash);
        assert!("abc".parse::<ChainHash>().is_err());
    }
}
