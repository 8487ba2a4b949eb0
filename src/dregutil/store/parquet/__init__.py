"""What a store knows, as Parquet files for DuckDB, Spark or a warehouse (the extra `parquet`)."""
