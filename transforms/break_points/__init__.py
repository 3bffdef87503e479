"""Break points 断点/死角: where customers are lost, and where only data is; told in docs/break_points.md."""
