//! Sends that were given up: refused for good, or of which nobody knows whether they arrived.

use schemas::{JobId, job::SendJob};
use store::job::{End, Resent, Telling, Unsent};

use super::{Place, Refused, user};

#[derive(clap::Args)]
pub struct Sends {
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
pub struct Resend {
    /// The send, as `sends` says.
    #[arg(value_parser = job)]
    job: JobId,
    /// Who asks for it; your user name when absent.
    #[arg(long)]
    operator: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// The id of a send.
fn job(text: &str) -> Result<JobId, String> {
    let wrong = "no send has such an id; name one as `bellwether parked sends` says";
    text.parse().map(JobId).map_err(|_| wrong.to_owned())
}

/// Prints the sends of the live generation that were given up.
pub(super) async fn list(args: Sends) -> anyhow::Result<()> {
    let rows = args.place.store().await?.unsent(args.limit).await?;
    if rows.is_empty() {
        println!("no send was given up");
    }
    for row in rows {
        let Unsent { job, target, reason, project, incident, settled_at, .. } = &row;
        let how = match row.end {
            End::Unknown => "may have arrived",
            End::Parked | End::Done => "was refused",
        };
        let what = match sent(&row) {
            Ok(send) => send.kind.word().to_owned(),
            Err(_) => "something unreadable".to_owned(),
        };
        println!(
            "{job}  {settled_at}  {what} of incident {incident} of {project} to {target} {how}: \
             {reason}"
        );
    }
    Ok(())
}

/// Has one sent again by a worker.
pub(super) async fn resend(args: Resend) -> anyhow::Result<()> {
    let store = args.place.store().await?;
    let unsent = store.unsent_at(args.job).await?.ok_or(Refused::NoSend(args.job))?;
    let send = sent(&unsent)?;
    let telling = Telling {
        project: &unsent.project,
        target: &unsent.target,
        kind: send.kind.word(),
        subject: &send.subject,
        trigger: unsent.trigger,
        job: Telling::teller(unsent.generation, unsent.job),
    };
    let operator = args.operator.unwrap_or_else(user);
    match store.resend(&unsent, telling, &operator).await? {
        Resent::As(job) => {
            println!("job       {job}");
            println!("target    {}", unsent.target);
            Ok(())
        }
        Resent::NotGivenUp => Err(Refused::NoSend(args.job).into()),
        Resent::Told => Err(Refused::ToldBefore(args.job).into()),
    }
}

fn sent(unsent: &Unsent) -> Result<SendJob, Refused> {
    schemas::codec::decode("send job", &unsent.payload)
        .map_err(|e| Refused::Unreadable(unsent.job, e.to_string()))
}
