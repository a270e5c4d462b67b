//! Where chats went: a provider may give a chat another id, and says so to whoever writes to the old
//! one. It is kept for every notifier, until the configuration names the new one.

use crate::{Error, Store};

impl Store {
    /// The id that a chat of channel `target` has now, where it was moved.
    pub async fn moved_chat(&self, target: &str, chat: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar("select moved_to from moved_chat where target = $1 and chat = $2")
            .bind(target)
            .bind(chat)
            .fetch_optional(self.pool())
            .await
            .map_err(Error::doing("read where a chat went"))
    }

    /// Keeps that a chat of channel `target` is now `moved_to`; whether that was not known.
    pub async fn chat_moved(
        &self,
        target: &str,
        chat: &str,
        moved_to: &str,
    ) -> Result<bool, Error> {
        let kept = sqlx::query(
            "insert into moved_chat as m (target, chat, moved_to) values ($1, $2, $3)
             on conflict (target, chat) do update
             set moved_to = excluded.moved_to, moved_at = now()
             where m.moved_to <> excluded.moved_to",
        )
        .bind(target)
        .bind(chat)
        .bind(moved_to)
        .execute(self.pool())
        .await
        .map_err(Error::doing("keep where a chat went"))?;
        Ok(kept.rows_affected() > 0)
    }
}
