"""From what people download to the lists, frames and checks that training needs: `python -m dataset.prepare`."""
