"""From a trained model to images: what to make (plan), making it (render), writing it (write)."""
