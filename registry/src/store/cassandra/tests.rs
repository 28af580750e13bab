//! What is made of answers that a real cluster gives only in bad moments.

use super::*;

#[test]
fn only_who_would_have_to_agree_can_refuse_for_sure() {
    let outcome = |consistency| {
        let missing = DbError::Unavailable { consistency, required: 2, alive: 1 };
        let error = RequestAttemptError::DbError(missing, String::new());
        decided("here", &ExecutionError::LastAttemptError(error))
    };
    for agreeing in [Consistency::Serial, Consistency::LocalSerial] {
        let told = outcome(agreeing);
        assert!(matches!(told, Try::No(StoreError::Unavailable(_))), "{agreeing}: {told:?}");
    }
    for keeping in [Consistency::LocalQuorum, Consistency::Quorum, Consistency::One] {
        let told = outcome(keeping);
        assert!(matches!(told, Try::Lost(_)), "{keeping}: {told:?}");
    }
}
