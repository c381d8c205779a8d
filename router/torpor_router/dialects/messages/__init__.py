"""What the door reads of clients' messages: a few fields each; the rest stays unread."""
