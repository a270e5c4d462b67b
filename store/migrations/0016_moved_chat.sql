-- Chats that the provider moved to another id (a group became a supergroup): every notifier writes to
-- the new one from the first message on that heard of it.
create table moved_chat (
    -- The channel, and the chat as its configuration or a question names it.
    target   text not null,
    chat     text collate "C" not null,
    moved_to text not null,
    moved_at timestamptz not null default now(),
    primary key (target, chat)
);
