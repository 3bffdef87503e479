"""Break points 断点/死角: where on the way to a loan customers are lost, and where only data is; told in docs/break_points.md."""
