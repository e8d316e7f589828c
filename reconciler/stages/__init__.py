"""What each stage of the hub means: Git as a source, declare, deliver, and what people ask of them."""
