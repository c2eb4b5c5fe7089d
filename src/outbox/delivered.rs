//! What the account was last given, for each address and set of lists.
//!
//! Owns the table `delivered`. Promises that a row that is taken for unchanged would change nothing: neither has another
//! route's row overwritten a field since, nor did the person agree anew since. Leaves what the account did to itself to
//! whoever asks the account.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::intake::contact;
use super::{millis, one, timestamp};
use crate::contact::Contact;
use crate::plan::{Digest, Given};

/// What was last given for an address on a set of lists.
pub(super) fn last_given(
    transaction: &Transaction<'_>,
    address: &str,
    lists: &str,
) -> rusqlite::Result<Option<Given>> {
    transaction
        .prepare_cached("SELECT digest, delivered_at FROM delivered WHERE address = ?1 AND lists = ?2")?
        .query_row(params![address, lists], |row| {
            Ok(Given { digest: row.get(0)?, at: timestamp(1, row.get(1)?)? })
        })
        .optional()
}

/// Writes down what the account was given.
pub(super) fn remember(
    transaction: &Transaction<'_>,
    address: &str,
    lists: &str,
    given: &Contact,
    digest: Digest,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "INSERT INTO delivered (address, lists, digest, delivered_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (address, lists) DO UPDATE SET digest = excluded.digest,
                    delivered_at = excluded.delivered_at",
        )?
        .execute(params![address, lists, digest, millis(now)])?;
    one(touched)?;
    forget_what_is_overwritten(transaction, address, lists, given)
}

/// The same for a portion of an import's rows, which are named by a condition on `entry` with the parameters 1 and 2.
pub(super) fn remember_portion(
    transaction: &Transaction<'_>,
    condition: &str,
    (import, last): (i64, i64),
    lists: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    transaction.execute(
        &format!(
            "INSERT INTO delivered (address, lists, digest, delivered_at)
             SELECT address, ?3, digest, ?4 FROM entry WHERE {condition}
                 ON CONFLICT (address, lists) DO UPDATE SET digest = excluded.digest,
                    delivered_at = excluded.delivered_at"
        ),
        params![import, last, lists, millis(now)],
    )?;
    let mut statement = transaction.prepare(&format!(
        "SELECT address, contact FROM entry
          WHERE {condition} AND EXISTS (SELECT 1 FROM delivered
                WHERE delivered.address = entry.address AND delivered.lists <> ?3 AND delivered.digest <> entry.digest
                  AND delivered.digest <> zeroblob(32))"
    ))?;
    let others = statement
        .query_map(params![import, last, lists], |row| Ok((row.get::<_, String>(0)?, contact(row, 1)?)))?;
    for other in others.collect::<Result<Vec<_>, _>>()? {
        forget_what_is_overwritten(transaction, &other.0, lists, &other.1)?;
    }
    Ok(())
}

/// A contact has one name however many lists it is on: what was given with other lists is no longer what the account holds
/// where this contradicts it. A row that says it again is then sent again.
fn forget_what_is_overwritten(
    transaction: &Transaction<'_>,
    address: &str,
    lists: &str,
    given: &Contact,
) -> rusqlite::Result<()> {
    let others = transaction
        .prepare_cached("SELECT lists, digest FROM delivered WHERE address = ?1 AND lists <> ?2 AND digest <> zeroblob(32)")?
        .query_map(params![address, lists], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, Digest)>, _>>()?;
    for (others_lists, digest) in others {
        // Without the row that said it, for example after pruning, one call too many is the safe side.
        let before = transaction
            .prepare_cached("SELECT contact FROM entry WHERE address = ?1 AND digest = ?2 LIMIT 1")?
            .query_row(params![address, digest], |row| contact(row, 0))
            .optional()?;
        if before.is_none_or(|before| contradict(&before, given)) {
            // That it was given something stays known: somebody may leave that list.
            let touched = transaction
                .prepare_cached(
                    "UPDATE delivered SET digest = zeroblob(32) WHERE address = ?1 AND lists = ?2",
                )?
                .execute(params![address, others_lists])?;
            one(touched)?;
        }
    }
    Ok(())
}

/// Whether two contacts of one address differ in a field that both have: then the order in which they are given matters.
fn contradict(one: &Contact, other: &Contact) -> bool {
    let (mut one_last, mut other_last) = (other.clone(), one.clone());
    one_last.merge(one);
    other_last.merge(other);
    one_last.digest() != other_last.digest()
}
