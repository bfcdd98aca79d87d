//! Of all the commands that are submitted with one key, one is stored.

use super::Fixture;
use super::sample::{
    Engine, asking, asks, conflict, exclusive, id, insert, is_rejected, locked, progress, root,
    update,
};
use crate::entity::CommandEntity;
use crate::status::CommandStatus;
use crate::store::{Outcome, Step, Write};

/// Inserts the root `n` with this key.
fn keyed(n: u128, key: &str) -> Step {
    insert(CommandEntity { submit_key: Some(key.into()), ..root(n) })
}

fn duplicate(n: u128) -> Outcome {
    Outcome::Duplicate(id(n))
}

/// A step whose key is stored gives the command that has it, and leaves nothing.
pub async fn a_taken_key_names_its_command(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([keyed(1, "a"), keyed(2, "b"), insert(root(3)), insert(root(4))]).await;
    let mut again = keyed(5, "b");
    again.writes.push(Write::Update(id(3), Box::new(progress(CommandStatus::Failed))));
    let outcomes = engine.commit([keyed(6, "c"), again, keyed(7, "a"), insert(root(8))]).await;
    assert_eq!(outcomes, [Outcome::Applied, duplicate(2), duplicate(1), Outcome::Applied]);
    assert_eq!(engine.open_roots(None, 10).await, [1, 2, 3, 4, 6, 8].map(id));
    assert_eq!(engine.entity(id(3)).await, Some(root(3)));
}

/// Of several steps of one batch with one key the first is stored.
pub async fn a_key_is_taken_inside_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let outcomes =
        engine.commit([keyed(2, "a"), keyed(1, "a"), keyed(3, "b"), keyed(4, "a")]).await;
    assert_eq!(outcomes, [Outcome::Applied, duplicate(2), Outcome::Applied, duplicate(2)]);
    assert_eq!(engine.commit([keyed(5, "a")]).await, [duplicate(2)]);
    assert_eq!(engine.open_roots(None, 10).await, [2, 3].map(id));
}

/// The same submit twice is a duplicate of itself, not an offender.
pub async fn a_command_is_a_duplicate_of_itself(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    assert_eq!(
        engine.commit([keyed(1, "a"), keyed(1, "a")]).await,
        [Outcome::Applied, duplicate(1)]
    );
    assert_eq!(engine.commit([keyed(1, "a")]).await, [duplicate(1)]);
}

/// A step that is refused for its locks takes no key.
pub async fn a_conflict_takes_no_key(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")])]).await;
    let refused = asking(keyed(2, "k"), &[], vec![exclusive("a")]);
    let outcomes = engine.commit([refused, keyed(3, "k"), keyed(4, "k")]).await;
    assert_eq!(conflict(&outcomes[0]).holder, id(1));
    assert_eq!(outcomes[1..], [Outcome::Applied, duplicate(3)]);
}

/// A step whose data is refused takes no key.
pub async fn a_rejected_step_takes_no_key(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    let outcomes = engine.commit([keyed(1, "k"), keyed(2, "k"), keyed(3, "k")]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1..], [Outcome::Applied, duplicate(2)]);
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
}

/// A duplicate is told so whatever its locks are, and gets none of them.
pub async fn a_duplicate_takes_no_lock(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([keyed(1, "k"), locked(2, vec![exclusive("held")]), insert(root(3))]).await;
    let again = |n, lock| asking(keyed(n, "k"), &[], vec![exclusive(lock)]);
    let take = asks(3, vec![exclusive("free")]);
    let outcomes = engine.commit([again(4, "free"), again(5, "held"), take]).await;
    assert_eq!(outcomes, [duplicate(1), duplicate(1), Outcome::Applied]);
}

/// A key stays taken when its command has ended and another engine has come.
pub async fn a_key_is_taken_for_good(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([keyed(1, "k")]).await;
    engine.apply([update(1, progress(CommandStatus::EndedSuccessfully))]).await;
    drop(engine);
    let engine = Engine::start(fixture).await;
    assert_eq!(engine.commit([keyed(2, "k")]).await, [duplicate(1)]);
    assert_eq!(engine.open_roots(None, 10).await, []);
}

/// Two keys are one only where they are the same to the byte.
pub async fn keys_are_compared_to_the_byte(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let keys = ["", "a", "A", "a ", " a", "ä", "a\u{308}", "1", "01", "1.0", "%", "_"];
    engine.apply((1..).zip(keys).map(|(n, key)| keyed(n, key))).await;
    let again = engine.commit((101..).zip(keys).map(|(n, key)| keyed(n, key))).await;
    let expected: Vec<_> = (1..).map(duplicate).take(keys.len()).collect();
    assert_eq!(again, expected);
}

/// A key with a NUL is taken whole or rejected, never cut.
pub async fn a_nul_in_a_key_is_never_cut_off(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([keyed(1, "a")]).await;
    let outcomes = engine.commit([keyed(2, "a\0b"), keyed(3, "a\0c"), keyed(4, "b")]).await;
    let whole = |outcome: &Outcome| *outcome == Outcome::Applied || is_rejected(outcome);
    assert!(outcomes[..2].iter().all(whole), "{outcomes:?}");
    assert_eq!(outcomes[2], Outcome::Applied);
}

/// Hundreds of keys in one batch, taken and free ones by turns.
pub async fn many_keys_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let all = |from| (0..500).map(move |n: u128| (n, keyed(from + n, &format!("key {n}"))));
    engine.apply(all(1000).filter(|(n, _)| n % 2 == 0).map(|(_, step)| step)).await;
    let outcomes = engine.commit(all(2000).map(|(_, step)| step)).await;
    for (n, outcome) in (0..).zip(outcomes) {
        let expected = if n % 2 == 0 { duplicate(1000 + n) } else { Outcome::Applied };
        assert_eq!(outcome, expected, "key {n}");
    }
}
