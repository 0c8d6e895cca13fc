"""What people read of a fitted version: model card, pictures, tables."""
