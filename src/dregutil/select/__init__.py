"""What people write to say which images they mean: globs, versions, sizes, ages, labels. Pure."""
