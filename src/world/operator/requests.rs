//! What became of a request.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tribunal_nemesis::Effect;
use tribunal_store::service::ApiError;

/// What came of some work so far; none until the first answer.
#[derive(Clone, Debug, Default)]
pub struct Answer(Arc<Mutex<Option<Effect>>>);

impl Answer {
    pub(super) fn set(&self, effect: Effect) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(effect);
    }

    /// What came of it.
    pub fn get(&self) -> Effect {
        let effect = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        effect.unwrap_or_else(|| Effect::NotYet("there is no answer yet".to_owned()))
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    text: String,
    was_not_sent: bool,
}

impl Refusal {
    /// Nobody has executed the request, or ever will.
    pub fn not_sent(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            was_not_sent: true,
        }
    }

    /// Whether it is this one.
    pub fn is(&self, error: &ApiError) -> bool {
        self.text == error.text
    }

    /// Whether it is certain that nothing was appended.
    pub fn is_certain(&self) -> bool {
        let known = [
            ApiError::unhealthy(),
            ApiError::not_enough_started(),
            ApiError::too_many_learners(),
            ApiError::no_leader(),
            ApiError::not_supported_for_learner(),
        ];
        self.was_not_sent || known.iter().any(|known| self.is(known))
    }
}

/// An answer that is an error, or none that can be read.
impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self {
            text,
            was_not_sent: false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_appended_is_certain() {
        assert!(Refusal::not_sent("connection refused").is_certain());
        assert!(Refusal::from(ApiError::unhealthy().text).is_certain());
        for doubtful in [ApiError::timed_out(), ApiError::leader_changed(), ApiError::stopped()] {
            assert!(!Refusal::from(doubtful.text.clone()).is_certain(), "{doubtful}");
        }
    }
}
