//! What an hour may cost, as the tables keep it.

use futures_util::future::join_all;
use schemas::ProjectId;
use store::spending::{Amount, Limits, Short, Take};
use tests::World;

fn project(name: &str) -> ProjectId {
    ProjectId::new(name).unwrap()
}

fn calls(calls: u64) -> Limits {
    Limits { calls: Some(calls), ..Limits::default() }
}

const ONE: Amount = Amount { calls: 1, tokens: 1_000, cost_micros: 300 };

/// Waits for the next hour of the database's clock when that is near, because it has a new budget.
async fn within_an_hour(world: &World) {
    let mut sql = world.sql().await;
    loop {
        let left: f64 = sqlx::query_scalar(
            "select extract(epoch from date_trunc('hour', now(), 'UTC') + '1 hour' - now())::float8",
        )
        .fetch_one(&mut sql)
        .await
        .unwrap();
        if left > 20.0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_secs_f64(left)).await;
    }
}

/// A13: many that take at once get what there is and no more, each project its own share, and what
/// was not used is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a13_nobody_takes_more_than_there_is() {
    let world = World::with_lanes(1).await;
    within_an_hour(&world).await;
    let store = &world.store;
    let take = async |analyst: &'static str, of: &'static str, all: Limits, each: Limits| {
        store.take_spending(analyst, &project(of), ONE, all, each).await.unwrap()
    };

    // Forty at once, of two projects, from a budget of ten.
    let takes = (0..40).map(|n| take("a", ["shop", "infra"][n % 2], calls(10), Limits::default()));
    let taken: Vec<Take> = join_all(takes).await;
    let got: Vec<_> = taken
        .into_iter()
        .filter_map(|take| match take {
            Take::Taken(taken) => Some(taken),
            Take::Short { short, of_project } => {
                assert_eq!((short, of_project), (Short::Calls, false));
                None
            }
            Take::Busy => panic!("a take was not had within 2 s"),
        })
        .collect();
    assert_eq!(got.len(), 10);
    let mut spent: Vec<u64> = got.iter().map(|taken| taken.spent.calls).collect();
    spent.sort_unstable();
    assert_eq!(spent, (1..=10).collect::<Vec<u64>>(), "each knows what is spent with it");

    // A call that was never received gives all of it back, one that was cheaper the rest.
    store.settle_spending(&got[0], Amount::default()).await.unwrap();
    let cheaper = Amount { tokens: 400, cost_micros: 100, ..ONE };
    store.settle_spending(&got[1], cheaper).await.unwrap();
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select 'all', calls, tokens, cost_micros from spending
         where analyst = 'a' and project = ''
         union all
         select 'each', sum(calls)::bigint, sum(tokens)::bigint, sum(cost_micros)::bigint
         from spending where analyst = 'a' and project <> ''",
    )
    .fetch_all(&mut world.sql().await)
    .await
    .unwrap();
    assert_eq!(rows, [("all".into(), 9, 8_400, 2_500), ("each".into(), 9, 8_400, 2_500)]);
    assert!(matches!(take("a", "shop", calls(10), calls(100)).await, Take::Taken(_)));

    // One project's share is no other's; what is short is named.
    for wanted in [true, true, false] {
        let got = take("b", "shop", calls(10), calls(2)).await;
        assert_eq!(matches!(got, Take::Taken(_)), wanted, "{got:?}");
    }
    let short = take("b", "shop", calls(10), calls(2)).await;
    let of_project = Take::Short { short: Short::Calls, of_project: true };
    assert_eq!(format!("{short:?}"), format!("{of_project:?}"));
    assert!(matches!(take("b", "infra", calls(10), calls(2)).await, Take::Taken(_)));
    let tokens = Limits { tokens: Some(3_999), ..Limits::default() };
    let short = take("b", "infra", tokens, Limits::default()).await;
    assert!(matches!(short, Take::Short { short: Short::Tokens, of_project: false }), "{short:?}");
    let money = Limits { cost_micros: Some(599), ..Limits::default() };
    let short = take("b", "infra", Limits::default(), money).await;
    assert!(matches!(short, Take::Short { short: Short::Cost, of_project: true }), "{short:?}");
    // What was refused has taken nothing.
    let spent: i64 =
        sqlx::query_scalar("select calls from spending where analyst = 'b' and project = ''")
            .fetch_one(&mut world.sql().await)
            .await
            .unwrap();
    assert_eq!(spent, 3);
}

/// Who holds a budget's row for long holds up no connection of the others for longer than 2 s.
#[tokio::test(flavor = "multi_thread")]
async fn a13_a_take_that_cannot_be_had_in_time_is_given_up() {
    let world = World::with_lanes(1).await;
    within_an_hour(&world).await;
    let store = &world.store;
    let take = async || {
        let none = Limits::default();
        store.take_spending("a", &project("shop"), ONE, none, none).await.unwrap()
    };
    assert!(matches!(take().await, Take::Taken(_)));
    let mut holder = world.sql().await;
    sqlx::raw_sql("begin; select from spending for update").execute(&mut holder).await.unwrap();
    let began = std::time::Instant::now();
    let got = take().await;
    assert!(matches!(got, Take::Busy), "{got:?}");
    let took = began.elapsed().as_millis();
    assert!((1_900..4_000).contains(&took), "{took} ms");
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    // Nothing was taken.
    let Take::Taken(taken) = take().await else { panic!("not taken") };
    assert_eq!(taken.spent.calls, 2);
}
