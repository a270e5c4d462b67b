//! What an analyst may cost: prices and budgets by the hour, which all workers share through the
//! tables.

use std::time::Duration;

use schemas::ProjectId;
use serde::Deserialize;
use store::{
    Store,
    spending::{Amount, Limits, Take, Taken},
};

use tokio::time::timeout;

use super::{Failure, Tokens};

/// What a million tokens cost, in any one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceConfig {
    /// Of what it is told.
    pub input: f64,
    /// Of what it writes.
    pub output: f64,
}

/// The most of an hour; what is absent has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Requests.
    pub calls: Option<u64>,
    /// Tokens told and written.
    pub tokens: Option<u64>,
    /// Money, in the currency of the prices.
    pub cost: Option<f64>,
}

/// How long an answer waits at most until the budget is put right.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Most that a price or a budget of money may be: beyond it is a slip of the keyboard.
const MONEY_MAX: f64 = 1e9;

impl PriceConfig {
    /// What is wrong with it.
    pub(super) fn check(self) -> Result<(), String> {
        match [self.input, self.output].iter().all(|p| (0.0..=MONEY_MAX).contains(p)) {
            true => Ok(()),
            false => Err("price must be numbers from 0 up, for a million tokens".into()),
        }
    }

    /// Millionths of the currency for these tokens; what is begun counts.
    pub(super) fn of(self, tokens: Tokens) -> u64 {
        // A price for a million of them is one in millionths for each.
        (tokens.input as f64 * self.input + tokens.output as f64 * self.output).ceil() as u64
    }

    fn is_free(self) -> bool {
        self.input == 0.0 && self.output == 0.0
    }
}

impl BudgetConfig {
    /// What is wrong with it, beside these prices; `key` is what it is called.
    pub(super) fn check(self, key: &str, price: PriceConfig) -> Result<(), String> {
        if self.calls == Some(0) || self.tokens == Some(0) {
            return Err(format!("{key} is 0: it would never be asked; take the analyst out"));
        }
        let Some(cost) = self.cost else { return Ok(()) };
        if !(0.0..=MONEY_MAX).contains(&cost) {
            return Err(format!("{key}.cost must be a number from 0 up"));
        }
        if price.is_free() {
            return Err(format!("{key}.cost limits nothing without a price; give both"));
        }
        Ok(())
    }

    /// `100 calls, 2000 tokens`; nothing where there is no limit.
    pub(super) fn about(self) -> Option<String> {
        let calls = self.calls.map(|calls| format!("{calls} calls"));
        let tokens = self.tokens.map(|tokens| format!("{tokens} tokens"));
        let cost = self.cost.map(|cost| format!("{cost} in money"));
        let all: Vec<String> = [calls, tokens, cost].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    fn limits(self) -> Limits {
        let cost_micros = self.cost.map(|cost| (cost * 1e6) as u64);
        Limits { calls: self.calls, tokens: self.tokens, cost_micros }
    }
}

/// The purse of one analyst.
#[derive(Debug)]
pub(super) struct Purse {
    analyst: String,
    price: PriceConfig,
    /// Of all projects, and of each.
    limits: (Limits, Limits),
    /// Absent where nothing is to be kept: then nothing has a limit.
    store: Option<Store>,
}

/// What was taken out for a call.
#[derive(Debug)]
pub(super) struct Lent {
    taken: Option<Taken>,
    estimate: Tokens,
}

impl Purse {
    pub(super) fn new(
        analyst: &str,
        price: PriceConfig,
        all: BudgetConfig,
        each: BudgetConfig,
        store: Option<Store>,
    ) -> Self {
        let limits = (all.limits(), each.limits());
        Self { analyst: analyst.to_owned(), price, limits, store }
    }

    /// Takes what a call will probably cost; a failure where there is too little.
    pub(super) async fn take(
        &self,
        project: &ProjectId,
        estimate: Tokens,
    ) -> Result<Result<Lent, Failure>, store::Error> {
        let Some(store) = &self.store else { return Ok(Ok(Lent { taken: None, estimate })) };
        let amount = self.amount(1, estimate);
        let (all, each) = self.limits;
        match store.take_spending(&self.analyst, project, amount, all, each).await? {
            Take::Short { short, of_project } => {
                Ok(Err(Failure::OutOfBudget { short, of_project }))
            }
            Take::Busy => Ok(Err(Failure::BudgetBusy)),
            Take::Taken(taken) => {
                self.show(taken.spent);
                Ok(Ok(Lent { taken: Some(taken), estimate }))
            }
        }
    }

    /// Puts right what was taken, now that it is known what was used; returns the cost in millionths.
    /// Unknown: the estimate stands. Takes no longer than [`SETTLE_MAX`]: an answer waits for it.
    pub(super) async fn settle(&self, lent: Lent, calls: u64, used: Option<Tokens>) -> u64 {
        let used = used.unwrap_or(lent.estimate);
        if let (Some(store), Some(taken)) = (&self.store, &lent.taken) {
            // What stays taken by an estimate errs on the side of the purse.
            let settling = store.settle_spending(taken, self.amount(calls, used));
            let analyst = &self.analyst;
            let unsettled = match timeout(SETTLE_MAX, settling).await {
                Ok(Ok(())) => None,
                Ok(Err(e)) => {
                    let error = &e as &dyn std::error::Error;
                    tracing::warn!(analyst, error, "analyst_budget_not_settled");
                    Some("failed")
                }
                Err(_) => {
                    let seconds = SETTLE_MAX.as_secs();
                    tracing::warn!(analyst, seconds, "analyst_budget_not_settled_in_time");
                    Some("late")
                }
            };
            if let Some(result) = unsettled {
                metrics::counter!(
                    "bellwether_analyst_budget_unsettled_total",
                    "analyst" => analyst.clone(),
                    "result" => result
                )
                .increment(1);
            }
        }
        self.price.of(used)
    }

    fn amount(&self, calls: u64, tokens: Tokens) -> Amount {
        let cost_micros = self.price.of(tokens);
        Amount { calls, tokens: tokens.input.saturating_add(tokens.output), cost_micros }
    }

    /// What is left for all projects.
    fn show(&self, spent: Amount) {
        let (all, _) = self.limits;
        for (of, limit, spent) in [
            ("calls", all.calls, spent.calls),
            ("tokens", all.tokens, spent.tokens),
            ("cost_micros", all.cost_micros, spent.cost_micros),
        ] {
            let Some(limit) = limit else { continue };
            metrics::gauge!(
                "bellwether_analyst_budget_left",
                "analyst" => self.analyst.clone(),
                "of" => of
            )
            .set(limit.saturating_sub(spent) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_tokens_have_a_price() {
        let price = PriceConfig { input: 0.15, output: 0.6 };
        let cost = |input, output| price.of(Tokens { input, output });
        assert_eq!(cost(1_000_000, 0), 150_000);
        assert_eq!(cost(2_000, 500), 600);
        assert_eq!(cost(1, 0), 1, "what is begun counts");
        assert_eq!(cost(0, 0), 0);
        assert_eq!(PriceConfig::default().of(Tokens { input: 9, output: 9 }), 0);
    }

    #[test]
    fn budgets_that_limit_nothing_or_everything_are_refused() {
        let free = PriceConfig::default();
        let price = PriceConfig { input: 1.0, output: 2.0 };
        let check = |budget: BudgetConfig, price| budget.check("budget", price);
        let money = BudgetConfig { cost: Some(0.5), ..BudgetConfig::default() };
        assert!(check(money, price).is_ok());
        assert!(check(money, free).unwrap_err().contains("without a price"));
        let none = BudgetConfig { calls: Some(0), ..BudgetConfig::default() };
        assert!(check(none, price).unwrap_err().contains("never be asked"));
        for cost in [-1.0, f64::NAN, f64::INFINITY] {
            let money = BudgetConfig { cost: Some(cost), ..BudgetConfig::default() };
            assert!(check(money, price).is_err());
            assert!(PriceConfig { input: cost, output: 0.0 }.check().is_err());
        }
        assert_eq!(money.limits().cost_micros, Some(500_000));
    }
}
